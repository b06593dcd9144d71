"""Writing shared by all formats: JSON in which a format's own markers cannot appear."""

from __future__ import annotations

import json
import re
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")


def json_text(value: Any, markers: re.Pattern[str]) -> str:
    """`value` on one line; of what `markers` matches, which must be one character, an escape is written.

    `markers` may match inside of strings only, where an escape stands for the character.

    Raises:
        TypeError, ValueError: not JSON.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _HALVES.sub(escaped, markers.sub(escaped, text))


def escaped(character: re.Match[str]) -> str:
    """A JSON escape for a character of the basic plane."""
    return f"\\u{ord(character[0]):04x}"
