"""Reading what the command line names: a file, or `-` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

LARGEST_INPUT = 64 << 20
"""Bytes after which a file is not read on; the readers have limits of their own below it."""


ACCEPT_RENDERING = click.option(
    "--accept-rendering",
    is_flag=True,
    help="Go on where a version was trained to read other bytes than are rendered today.",
)


class Input(NamedTuple):
    """The bytes of a file and how messages call it."""

    data: bytes
    origin: str


def read_input(name: str) -> Input:
    """The bytes of the file `name`, or of standard input when it is `-`.

    Raises:
        OSError: the file cannot be read.
        AdaptmanError: it is larger than `LARGEST_INPUT`.
    """
    if name == "-":
        origin = "standard input"
        return Input(_bounded(sys.stdin.buffer.read(LARGEST_INPUT + 1), origin), origin)
    with Path(name).open("rb") as stream:
        return Input(_bounded(stream.read(LARGEST_INPUT + 1), name), name)


def _bounded(data: bytes, origin: str) -> bytes:
    if len(data) <= LARGEST_INPUT:
        return data
    from adaptman.errors import AdaptmanError

    raise AdaptmanError(
        f"`{origin}` is larger than {LARGEST_INPUT >> 20} MiB", hint="split it, or check the name"
    )


def parse_renames(_: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """`old=new` pairs, as `--renamed` takes them."""
    renames: dict[str, str] = {}
    for value in values:
        old, separator, new = value.partition("=")
        if not (old and separator and new):
            raise click.BadParameter(f"`{value}` is not of the form old=new", param=param)
        if renames.setdefault(old, new) != new:
            raise click.BadParameter(
                f"`{old}` is given two new names, `{renames[old]}` and `{new}`", param=param
            )
    return renames
