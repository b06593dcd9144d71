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
from tests.lineage.payloads import Row, standing


class Killed(BaseException):
    """The process died; nothing catches it."""


Step = Row | dict[str, int | None]
"""A row of the outbox, or where the aliases belong."""


class Mortal:
    """An MLflow client that dies instead of making call number `lives`, counted from 0.

    With `lost` the call is made, and the answer never arrives.
    """

    def __init__(self, client: Any, lives: int, lost: bool = False) -> None:
        self._client = client
        self._lives = lives
        self._lost = lost

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._mortal(found) if callable(found) else found

    def _mortal(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            dies, self._lives = self._lives == 0, self._lives - 1
            if dies and not self._lost:
                raise Killed
            answer = call(*args, **options)
            if dies:
                raise Killed
            return answer

        return made


class Bench:
    """One store, with a model line of its own for each try."""

    def __init__(self, tracking_uri: str, artifacts: str, objects: Objects) -> None:
        self.client = connect(tracking_uri)
        self._arguments = (tracking_uri, objects.store, artifacts)

    def mirror(self, lives: int = -1, *, lost: bool = False) -> Mirror:
        return Mirror(*self._arguments, connect=lambda _: Mortal(self.client, lives, lost))  # type: ignore[arg-type,return-value]

    def tell(self, line: str, *steps: Step) -> dict[str, Any]:
        mirror = self.mirror()
        for step in steps:
            take(mirror, step, line)
        return census(self.client, line)


def take(mirror: Mirror, step: Step, line: str) -> None:
    if isinstance(step, Row):
        mirror.deliver(*step.of(line))
    else:
        mirror.point(line, step)


@pytest.fixture
def bench(tracking_uri: str, tmp_path: Any, objects: Objects) -> Bench:
    return Bench(tracking_uri, str(tmp_path / "mlartifacts"), objects)


BASE = payloads.base()
STORIES: dict[str, Callable[[Objects], list[Step]]] = {
    "base": lambda _: [BASE],
    "trained": lambda objects: [BASE, objects.trained(2)],
    "suite": lambda _: [BASE, payloads.suite_run(1)],
    "decision": lambda _: [BASE, payloads.decision(1)],
    "champion": lambda _: [BASE, payloads.moved(1, None)],
    "ended": lambda _: [BASE, payloads.ended(1)],
    "aliases": lambda _: [BASE, payloads.base(2), standing(1, None, 2), standing(2, 1)],
}
LEAST_CALLS = 3


def whole(objects: Objects) -> list[Step]:
    """Every kind of row, and the aliases twice."""
    rows = [BASE, objects.trained(2), payloads.suite_run(2), payloads.decision(2)]
    return [*rows, standing(1, None, 2), payloads.moved(2, 1), standing(2, 1), payloads.ended(1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_killed_anywhere_and_told_again(name: str, bench: Bench, objects: Objects) -> None:
    *before, row = STORIES[name](objects)
    expected = bench.tell("line-undisturbed", *before, row)
    for lives in range(200):
        line = f"line-{lives:03}"
        bench.tell(line, *before)
        try:
            take(bench.mirror(lives), row, line)
        except Killed:
            assert bench.tell(line, row) == expected, f"killed before call {lives}"
        else:
            assert lives >= LEAST_CALLS
            return
    raise AssertionError("the delivery never came to its end")


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["before the call", "before its answer"])
def test_killed_again_and_again(lost: bool, bench: Bench, objects: Objects) -> None:
    """Each try gets one call further than the one before, all on the same line."""
    expected = bench.tell("line-undisturbed", *whole(objects))
    for step in whole(objects):
        for lives in range(200):
            try:
                take(bench.mirror(lives, lost=lost), step, "line-stubborn")
            except Killed:
                continue
            break
    assert census(bench.client, "line-stubborn") == expected


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["before the call", "before its answer"])
def test_killed_while_a_version_is_replaced(lost: bool, bench: Bench, objects: Objects) -> None:
    """Its logged model was deleted, so it is registered anew, and the aliases go with it."""
    update = objects.trained(2)
    bench.tell("line-new", BASE, update, standing(2, 1))
    experiment = bench.client.get_experiment_by_name("adaptman.line-new")
    assert experiment is not None
    (model,) = bench.client.search_logged_models([experiment.experiment_id], "name = 'v2'")
    bench.client.delete_logged_model(model.model_id)
    for lives in range(200):
        try:
            take(bench.mirror(lives, lost=lost), update, "line-new")
        except Killed:
            champion = bench.client.get_model_version_by_alias("adaptman.line-new", "champion")
            assert champion.tags["adaptman.version"] == "2", f"no champion after call {lives}"
            continue
        break
    (registered,) = census(bench.client, "line-new")["registered"]
    assert [version[:2] for version in registered["versions"]] == [
        ["1", "models:/<model version/1>"],
        ["3", "models:/<model version/2>"],
    ]
    assert registered["aliases"] == {"champion": "3", "previous": "1"}


def test_told_twice(bench: Bench, objects: Objects) -> None:
    once = bench.tell("line-a", *whole(objects))
    assert bench.tell("line-a", *(step for step in whole(objects) for _ in range(2))) == once
