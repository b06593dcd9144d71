"""A delivery that is killed between any two calls and made again leaves exactly one of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adaptman.lineage.client import connect
from adaptman.lineage.mirror import Mirror
from tests.lineage import payloads
from tests.lineage.census import census
from tests.lineage.conftest import Objects
from tests.lineage.payloads import Row


class Killed(BaseException):
    """The process died; nothing catches it."""


class Mortal:
    """An MLflow client that dies instead of making call number `lives`, counted from 0."""

    def __init__(self, client: Any, lives: int) -> None:
        self._client = client
        self._lives = lives

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._mortal(found) if callable(found) else found

    def _mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            if self._lives == 0:
                raise Killed
            self._lives -= 1
            return call(*args, **options)

        return made


class Bench:
    """One store, with a model line of its own for each try."""

    def __init__(self, tracking_uri: str, artifacts: str, objects: Objects) -> None:
        self.client = connect(tracking_uri)
        self._arguments = (tracking_uri, objects.store, artifacts)

    def mirror(self, lives: int = -1) -> Mirror:
        return Mirror(*self._arguments, connect=lambda _: Mortal(self.client, lives))  # type: ignore[arg-type,return-value]

    def tell(self, line: str, *rows: Row) -> dict[str, Any]:
        mirror = self.mirror()
        for row in rows:
            mirror.deliver(*row.of(line))
        return census(self.client, line)


@pytest.fixture
def bench(tracking_uri: str, tmp_path: Any, objects: Objects) -> Bench:
    return Bench(tracking_uri, str(tmp_path / "mlartifacts"), objects)


BASE = payloads.base()
STORIES: dict[str, Callable[[Objects], list[Row]]] = {
    "base": lambda _: [BASE],
    "trained": lambda objects: [BASE, objects.trained(2)],
    "suite": lambda _: [BASE, payloads.suite_run(1)],
    "decision": lambda _: [BASE, payloads.decision(1)],
    "champion": lambda _: [BASE, payloads.base(2), payloads.moved(1, None), payloads.moved(2, 1)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_killed_anywhere_and_told_again(name: str, bench: Bench, objects: Objects) -> None:
    *before, row = STORIES[name](objects)
    expected = bench.tell("line-undisturbed", *before, row)
    for lives in range(200):
        line = f"line-{lives:03}"
        bench.tell(line, *before)
        try:
            bench.mirror(lives).deliver(*row.of(line))
        except Killed:
            assert bench.tell(line, row) == expected, f"killed before call {lives}"
        else:
            assert lives > 8
            return
    raise AssertionError("the delivery never came to its end")


def test_killed_again_and_again(bench: Bench, objects: Objects) -> None:
    """Each try gets one call further than the one before, all on the same line."""
    story = [BASE, objects.trained(2), payloads.suite_run(2), payloads.decision(2), payloads.moved(2, 1)]
    expected = bench.tell("line-undisturbed", *story)
    for row in story:
        for lives in range(200):
            try:
                bench.mirror(lives).deliver(*row.of("line-stubborn"))
            except Killed:
                continue
            break
    assert census(bench.client, "line-stubborn") == expected


def test_told_twice(bench: Bench, objects: Objects) -> None:
    story = [BASE, objects.trained(2), payloads.suite_run(2), payloads.decision(2), payloads.moved(2, 1)]
    once = bench.tell("line-a", *story)
    assert bench.tell("line-a", *(row for row in story for _ in range(2))) == once
