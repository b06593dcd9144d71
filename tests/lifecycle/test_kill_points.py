"""A process that is killed anywhere loses nothing that was acknowledged, and what is left goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.kill_points import ACTS, LAST_WORD, Act, Stage, kill_and_go_on, points, undisturbed
from tests.registry.databases import KINDS, Postgres, postgres_server

pytestmark = pytest.mark.slow
MOST = {"update": 4, "evaluate": 5, "deliver": 3}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_killed_and_given_again(act: Act, kind: str, server: Postgres, tmp_path: Path) -> None:
    """`python -m tests.lifecycle.kill_points` tries every step; here are some of each command."""
    stage = Stage.build(act, tmp_path / "stage", server if kind == "postgresql" else None)
    steps, expected = undisturbed(stage)
    tried = [kill_and_go_on(stage, at, expected) for at in points(steps, MOST.get(act.name, 10))]
    assert tried[-1] == LAST_WORD
    assert tried.count("not reached") <= 1
