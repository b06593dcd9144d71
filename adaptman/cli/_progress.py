"""Progress of long work on stderr: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType

import click

_BAR = 24
_NARROW_BAR = 8
_REDRAW_S = 0.1
_PLAIN_EVERY_S = 10.0
_FALLBACK_COLUMNS = 80


class TerminalProgress:
    """Draws one phase after another. `clock` gives seconds.

    As a context manager it ends the line of a bar that stands when the work is broken off, so that what is
    printed next begins on a line of its own; of work that goes on, given again, it says so when somebody
    stops it.
    """

    def __init__(self, *, goes_on: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._goes_on, self._clock = goes_on, clock
        self._bar = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._phase, self._total, self._done = "", 0, 0
        self._began = self._drawn = 0.0
        self._note = ""
        self._width = 0
        """Columns of the line that stands; 0 where none does."""

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            click.echo(err=True)
            self._width = 0
        if self._goes_on and kind is KeyboardInterrupt:
            click.echo("stopped; the same command goes on where it was", err=True)

    def start(self, phase: str, total: int) -> None:
        """A phase of `total` units begins."""
        self._phase, self._total, self._done, self._note = phase, total, 0, ""
        self._began = self._drawn = self._clock()
        self._draw()

    def advance(self, units: int, note: str = "") -> None:
        """So many units are done; `note` is the latest figure worth seeing."""
        self._done += units
        self._note = note or self._note
        if self._clock() - self._drawn >= (_REDRAW_S if self._bar else _PLAIN_EVERY_S):
            self._draw()

    def finish(self, note: str = "") -> None:
        """The phase is over: one line stays."""
        line = f"{self._phase:<26} done in {_duration(self._clock() - self._began)}"
        self._show(f"{line}  {note}" if note else line, stays=True)

    def _draw(self) -> None:
        self._drawn = self._clock()
        # Work that is tried more than once counts every try, and is done when it is done.
        done = min(self._done, self._total)
        told = f"{done}/{self._total}  ETA {self._left(done)}"
        if not self._bar:
            self._show(f"{self._phase:<26} {told}  {self._note}".rstrip(), stays=True)
            return
        columns = _columns()
        size = _BAR if columns >= _FALLBACK_COLUMNS else _NARROW_BAR
        filled = round(size * done / self._total) if self._total else 0
        bar = "━" * filled + "╌" * (size - filled)
        self._show(f"{self._phase:<26} {bar} {told}  {self._note}".rstrip()[: columns - 1], stays=False)

    def _left(self, done: int) -> str:
        elapsed = self._drawn - self._began
        return _duration(elapsed * (self._total - done) / done) if done else "…"

    def _show(self, line: str, *, stays: bool) -> None:
        """Blanks wipe out the line before: every terminal knows them, with colours and without."""
        wiped = f"\r{line}{' ' * (self._width - len(line))}" if self._bar else line
        click.echo(wiped, err=True, nl=stays)
        self._width = 0 if stays or not self._bar else len(line)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _FALLBACK_COLUMNS
    except (OSError, ValueError):  # not a terminal after all
        return _FALLBACK_COLUMNS


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
