"""What things are called in MLflow, and values cut to what it takes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

MAX_PARAM_VALUE = 6_000
MAX_TAG_VALUE = 8_000
MAX_INPUT_TAG_VALUE = 500
MAX_KEY = 250
MAX_DATASET_DIGEST = 36
METRICS_A_BATCH = 1_000
PARAMS_A_BATCH = 100
TAGS_A_BATCH = 100

_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]")
_UPWARDS = re.compile(r"^\.\.")
_ELLIPSIS = "…"

Item = TypeVar("Item")


def line_name(model: str) -> str:
    """The experiment and the registered model of a model line: `adaptman.default`."""
    return f"adaptman.{model}"


def tag(name: str) -> str:
    """The tag `adaptman.NAME`."""
    return f"adaptman.{name}"


def key(text: str) -> str:
    """`text` as the key of a parameter or metric: characters that MLflow refuses become `_`.

    MLflow reads a key as a path, so empty and dotted steps are taken out too, and two dots at its beginning
    count among those characters.
    """
    steps = _NOT_IN_A_KEY.sub("_", text[:MAX_KEY]).split("/")
    path = "/".join(step for step in steps if step not in {"", ".", ".."})
    return _UPWARDS.sub("__", path) or "_"


def file_name(text: str) -> str:
    """`text` as the name of one artifact file."""
    return re.sub(r"[^\w\-.]", "_", text, flags=re.ASCII).strip(".")[:MAX_KEY] or "_"


def cut(text: str, limit: int) -> str:
    """`text`, or its beginning and an ellipsis, in at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def tag_values(values: Mapping[str, object]) -> dict[str, str]:
    """Tags named `adaptman.…`; what is `None` is left out."""
    return {tag(name): cut(str(value), MAX_TAG_VALUE) for name, value in values.items() if value is not None}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: `{"lora": {"rank": 8}}` becomes `{"lora.rank": 8}`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, path)
        else:
            flat[path] = value
    return flat


def parameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Everything in `values` as text: JSON for lists, `null`, `true` and numbers."""
    return {
        key(name): cut(value if isinstance(value, str) else json.dumps(value, default=str), MAX_PARAM_VALUE)
        for name, value in flatten(values, prefix).items()
    }


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers in `values`; truth values are not numbers."""
    return {
        key(name): float(value)
        for name, value in flatten(values, prefix).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def words(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """What is in `values` beside the finite numbers, as text."""
    known = numbers(values, prefix)
    return {name: value for name, value in parameters(values, prefix).items() if name not in known}


def milliseconds(moment: str | None) -> int:
    """An ISO 8601 time as MLflow counts: milliseconds since 1970; 0 when there is none."""
    return int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else 0


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of at most `size`."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def public_uri(uri: str) -> str:
    """`uri` with a password in it replaced by `***`."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
