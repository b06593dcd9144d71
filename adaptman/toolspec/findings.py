"""What the comparison of two schemas passes around."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.samples import Sampler

Lift = Callable[[Any], Iterator[Any]]
"""From a value at a place to whole arguments that hold it there."""


class Spot(NamedTuple):
    """A place in both contracts: the two schemas there, the path to it, and the way up to the arguments."""

    old: Any
    new: Any
    path: str
    lift: Lift

    @property
    def label(self) -> str:
        """The path for a sentence."""
        return f"`{self.path}`" if self.path else "the arguments"


class Samplers(NamedTuple):
    """Values and validity on both sides."""

    old: Sampler
    new: Sampler


@dataclass(frozen=True)
class Finding:
    """A difference. `change_class` None means: narrower, to be shown by one of the `candidates`,
    values at `spot` that may be valid under the old schema and invalid under the new one.
    """

    kind: str
    spot: Spot
    reason: str
    change_class: ChangeClass | None = None
    candidates: Iterable[Any] = ()
    to: str = ""
    path: str | None = None
    likelihood: float | None = None


def child_path(path: str, name: str) -> str:
    """The path of a property below `path`."""
    return f"{path}.{name}" if path else name
