"""How long work tells where it stands; the command line draws it, and a library user may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of phases, one after another."""

    def start(self, phase: str, total: int) -> None:
        """A phase of `total` units begins."""
        ...

    def advance(self, units: int, note: str = "") -> None:
        """So many units are done; `note` is the latest figure worth seeing."""
        ...

    def finish(self, note: str = "") -> None:
        """The phase is over."""
        ...


class Silent:
    """Tells nobody."""

    def start(self, phase: str, total: int) -> None:
        """Nothing."""

    def advance(self, units: int, note: str = "") -> None:
        """Nothing."""

    def finish(self, note: str = "") -> None:
        """Nothing."""
