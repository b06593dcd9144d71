"""One way to write a value as JSON, so that equal values have equal bytes and equal digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from registry.errors import InvalidRecordError


def canonical_json(value: Any) -> str:
    """Write `value` as JSON: keys sorted, no blanks, ASCII only.

    Raises:
        InvalidRecordError: the value holds NaN, an infinity, or something that JSON cannot say.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRecordError(f"cannot be written as JSON: {error}") from error


def plain(value: Any) -> Any:
    """The value as it will be read back: tuples are lists, keys are strings."""
    return json.loads(canonical_json(value))


def sha256(text: str) -> str:
    """The sha256 of the text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
