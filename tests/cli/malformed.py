"""Ways to spoil a file: wrong values at every place, keys taken away, bytes cut, doubled and changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml

WRONG: tuple[Any, ...] = (None, True, -1, 1e308, "", "x" * 3000, "\x00", "\ud800", [], {}, [[]], {"": None})
"""What stands in the place of a value that was right."""

Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, the whole first."""
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from places(part, (*path, at))


def replaced(value: Any, path: Path, new: Any) -> Any:
    """The value with another one in a place."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


def removed(value: Any, path: Path) -> Any:
    """The value without the key or the item in a place."""
    changed = copy.deepcopy(value)
    target = changed
    for step in path[:-1]:
        target = target[step]
    del target[path[-1]]
    return changed


def spoiled_values(value: Any) -> Iterator[Any]:
    """The value with each place spoiled in one way, in turn, and with each key or item taken away."""
    for at, path in enumerate(places(value)):
        yield replaced(value, path, WRONG[at % len(WRONG)])
        if path:
            yield removed(value, path)


def spoiled_bytes(data: bytes) -> Iterator[bytes]:
    """The file cut, with noise in it, twice over, in another encoding, and things that are no text at all."""
    step = max(1, len(data) // 7)
    for at in range(0, len(data), step):
        yield data[:at]
        yield data[:at] + b"\xff\x00\x1b[31m" + data[at + 1 :]
    yield data.decode().encode("utf-16")
    yield data + b"\n]]]"
    yield b"[" * 20_000
    yield b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    yield b'{"a": 1' + b"0" * 5_000 + b"}"
    yield b"\x7fELF" + bytes(range(256))
    yield b"NaN"


def written(values: Iterator[Any], write: Callable[[Any], str]) -> Iterator[bytes]:
    """The values as files; what cannot be written in the form at all is left out."""
    for value in values:
        try:
            yield write(value).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, yaml.YAMLError):
            continue


def spoiled_json(data: bytes) -> Iterator[bytes]:
    """All of it, for a JSON file."""
    yield from written(spoiled_values(json.loads(data)), json.dumps)
    yield from spoiled_bytes(data)


def spoiled_jsonl(data: bytes) -> Iterator[bytes]:
    """All of it, for a JSONL file: one line is spoiled, the others are as they were."""
    first, *others = data.splitlines(keepends=True)
    for line in written(spoiled_values(json.loads(first)), json.dumps):
        yield b"".join([line + b"\n", *others])
    yield b"".join([first, first, *others])
    yield from spoiled_bytes(data)


def spoiled_yaml(data: bytes) -> Iterator[bytes]:
    """All of it, for a YAML file."""
    yield from written(spoiled_values(yaml.safe_load(data)), yaml.safe_dump)
    yield from spoiled_bytes(data)


def at_most(count: int, files: Iterator[bytes]) -> Sequence[bytes]:
    """So many of them, spread over all."""
    every = list(files)
    return every[:: max(1, len(every) // count)]
