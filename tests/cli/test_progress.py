"""Progress as a person and as a log file see it."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import click
import pytest

from adaptman.cli._progress import TerminalProgress


@dataclass
class Seconds:
    """A clock that is moved by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def train(progress: TerminalProgress, clock: Seconds, *, step_s: float) -> None:
    """Four steps and the end."""
    progress.start("training", 4)
    for step in range(4):
        clock.now += step_s
        progress.advance(1, f"loss {4 - step}.00")
    progress.finish("loss 1.00")


def test_plain_lines_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Seconds()
    train(TerminalProgress(clock=clock), clock, step_s=6)
    assert capsys.readouterr().err == (
        "training                   0/4  ETA …\n"
        "training                   2/4  ETA 12 s  loss 3.00\n"
        "training                   4/4  ETA 0 s  loss 1.00\n"
        "training                   done in 24 s  loss 1.00\n"
    )


def test_quick_work_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Seconds()
    train(TerminalProgress(clock=clock), clock, step_s=0.01)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Seconds()
    train(TerminalProgress(clock=clock), clock, step_s=100)
    assert "1/4  ETA 5 min 00 s  loss 4.00\n" in capsys.readouterr().err


def test_work_tried_twice_is_never_more_than_all(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Seconds()
    progress = TerminalProgress(clock=clock)
    progress.start("replay", 4)
    clock.now += 10
    progress.advance(6)
    assert capsys.readouterr().err.endswith("4/4  ETA 0 s\n")


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress(clock=Seconds())
    progress.start("replay", 0)
    progress.finish()
    assert capsys.readouterr().err.endswith("done in 0 s\n")


@dataclass
class Screen:
    """The other side of a pseudo-terminal."""

    master: int
    stderr: TextIO

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self) -> str:
        """What was written until now."""
        self.stderr.flush()
        os.write(self.stderr.fileno(), b"\x04")  # marks the end, so that reading need not wait for more
        seen = b""
        while not seen.endswith(b"\x04"):
            seen += os.read(self.master, 4096)
        return seen[:-1].decode()

    def lines(self) -> list[str]:
        """What a person sees: a line drawn over another hides as much of it as it is long."""
        shown = []
        for line in self.read().replace("\r\n", "\n").split("\n"):
            row = ""
            for part in line.split("\r"):
                row = part + row[len(part) :]
            shown.append(row.rstrip())
        return shown


@contextmanager
def a_screen(*, columns: int = 100, term: str = "xterm") -> Iterator[Screen]:
    """stderr is a terminal."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stderr, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", term)
        patch.setattr(sys, "stderr", stderr)
        found = Screen(master, stderr)
        found.resize(columns)
        yield found
    os.close(master)


def test_a_bar_with_an_eta_on_a_terminal() -> None:
    clock = Seconds()
    with a_screen() as screen:
        progress = TerminalProgress(clock=clock)
        progress.start("training", 4)
        clock.now += 5
        progress.advance(1, "loss 4.00")
        shown = screen.lines()
    assert shown == [f"training                   {'━' * 6}{'╌' * 18} 1/4  ETA 15 s  loss 4.00"]


def test_one_line_stays_of_each_phase() -> None:
    clock = Seconds()
    with a_screen() as screen, TerminalProgress(clock=clock) as progress:
        train(progress, clock, step_s=5)
        train(progress, clock, step_s=1)
        shown = screen.lines()
    assert shown == [
        "training                   done in 20 s  loss 1.00",
        "training                   done in 4 s  loss 1.00",
        "",
    ]


def test_a_shorter_line_wipes_out_a_longer_one() -> None:
    clock = Seconds()
    with a_screen() as screen:
        progress = TerminalProgress(clock=clock)
        progress.start("training", 4)
        for note in ("a figure that is long", "short"):
            clock.now += 1
            progress.advance(1, note)
        assert screen.lines()[0].endswith("short")


@pytest.mark.parametrize("columns", [100, 60, 30])
def test_a_line_never_wraps(columns: int) -> None:
    clock = Seconds()
    with a_screen(columns=columns) as screen:
        progress = TerminalProgress(clock=clock)
        progress.start("training", 4)
        clock.now += 5
        progress.advance(1, "loss 4.00, drift 0.012, 1234 tokens/s, and much more that there is to tell")
        assert all(len(part.rstrip()) < columns for part in screen.read().split("\r"))


def test_what_comes_after_broken_work_has_a_line_of_its_own() -> None:
    with a_screen() as screen:
        with TerminalProgress(clock=Seconds()) as progress:
            progress.start("training", 4)
        click.echo("stopped", err=True)
        assert screen.lines()[1:] == ["stopped", ""]


def test_a_dumb_terminal_gets_plain_lines() -> None:
    clock = Seconds()
    with a_screen(term="dumb") as screen:
        train(TerminalProgress(clock=clock), clock, step_s=6)
        assert len(screen.lines()) == 5
