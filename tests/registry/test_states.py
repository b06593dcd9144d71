"""The transition table, pair by pair: by itself, and through all that the writer offers on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from registry.errors import IllegalTransitionError, PromotionError, RegistryError
from registry.registry import Registry
from registry.states import RUNNABLE, TRANSITIONS, VersionState, check_transition, legal_moves
from registry.tables import ModelVersion
from registry.writer import Writer
from tests.registry.databases import KINDS, MIGRATED, Postgres, Sqlite
from tests.registry.line import Clock, Line, finish, judge, judged, start

LEGAL = {
    "training": "trained failed discarded",
    "trained": "evaluated failed discarded",
    "evaluated": "evaluated passed refused discarded",
    "passed": "champion evaluated discarded",
    "refused": "champion evaluated discarded",
    "champion": "retired",
    "retired": "champion",
    "failed": "discarded",
    "discarded": "",
}
PAIRS = list(product(VersionState, VersionState))


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[f"{old}-{new}" for old, new in PAIRS])
def test_each_pair(old: VersionState, new: VersionState) -> None:
    if new in LEGAL[old].split():
        check_transition(old, new)
        return
    with pytest.raises(IllegalTransitionError) as caught:
        check_transition(old, new)
    assert caught.value.message == f"a version in state `{old}` cannot become `{new}`"
    for one in legal_moves(old):
        assert f"`{one}`" in caught.value.hint


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(VersionState)


def test_a_final_state_says_so() -> None:
    with pytest.raises(IllegalTransitionError) as caught:
        check_transition(VersionState.DISCARDED, VersionState.TRAINED)
    assert "final" in caught.value.hint


def test_every_state_can_be_reached() -> None:
    reached = {VersionState.TRAINING}
    for _ in VersionState:
        reached |= {new for old in reached for new in TRANSITIONS[old]}
    assert reached == set(VersionState)


def test_what_can_be_scored_has_weights() -> None:
    assert set(VersionState) - RUNNABLE == {
        VersionState.TRAINING,
        VersionState.FAILED,
        VersionState.DISCARDED,
    }


# through the writer


class UndoError(Exception):
    """Leave the record as it was."""


class Standing(NamedTuple):
    """A registry with one model line for each state, in which a version stands in that state."""

    registry: Registry
    versions: dict[VersionState, ModelVersion]


def reach(writer: Writer, line: int, state: VersionState) -> ModelVersion:
    """A version that got to the state in the shortest way."""
    version = start(writer, line)
    if state is VersionState.FAILED:
        return writer.fail_version(version.id, "no memory")
    if state is VersionState.DISCARDED:
        return writer.discard_version(version.id, "no")
    if state is not VersionState.TRAINING:
        finish(writer, version)
    if state is VersionState.EVALUATED:
        return writer.mark_evaluated(version.id)
    if state in {VersionState.PASSED, VersionState.CHAMPION, VersionState.RETIRED}:
        judge(writer, version)
    if state is VersionState.REFUSED:
        judge(writer, version, "refuse")
    if state in {VersionState.CHAMPION, VersionState.RETIRED}:
        writer.promote(line, version.number)
    if state is VersionState.RETIRED:
        writer.promote(line, judged(writer, line).number)
    return version


@pytest.fixture(scope="module", params=KINDS)
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    if request.param == "sqlite":
        files: Sqlite = request.getfixturevalue("sqlite")
        folder: Path = tmp_path_factory.mktemp("states")
        yield from stood(files.new_database(folder, migrated=True))
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database(MIGRATED) as url:
        yield from stood(url)


def stood(url: str) -> Iterator[Standing]:
    clock = Clock()
    registry = Registry.open(url, actor="ada", clock=clock)
    lines = {state: Line(registry, clock, state).id for state in VersionState}
    yield Standing(
        registry,
        {state: registry.write(lambda w, s=state: reach(w, lines[s], s)) for state in VersionState},  # type: ignore[misc]
    )
    registry.close()


def decide(writer: Writer, version: ModelVersion, verdict: str) -> None:
    champion = writer.champion(version.model_id)
    writer.record_decision(
        version.id,
        champion_id=champion.id if champion else None,
        policy_name="p",
        policy_digest="d",
        verdict=verdict,
        reasons=[],
        evidence={},
        warnings=[],
    )


def crown(writer: Writer, version: ModelVersion) -> None:
    if version.state is VersionState.RETIRED:
        writer.rollback(version.model_id)
    else:
        writer.promote(version.model_id, version.number, waiver="needed")


def retire(writer: Writer, version: ModelVersion) -> None:
    """Only another champion can."""
    writer.promote(version.model_id, judged(writer, version.model_id).number)
    if version.state is not VersionState.RETIRED:
        raise IllegalTransitionError(version.state, VersionState.RETIRED, ())


# Nothing leads to `training`: it is where a version begins.
WAYS: dict[VersionState, Callable[[Writer, ModelVersion], object]] = {
    VersionState.TRAINED: finish,
    VersionState.EVALUATED: lambda writer, version: writer.mark_evaluated(version.id),
    VersionState.PASSED: lambda writer, version: decide(writer, version, "pass"),
    VersionState.REFUSED: lambda writer, version: decide(writer, version, "refuse"),
    VersionState.CHAMPION: crown,
    VersionState.RETIRED: retire,
    VersionState.FAILED: lambda writer, version: writer.fail_version(version.id, "no memory"),
    VersionState.DISCARDED: lambda writer, version: writer.discard_version(version.id, "no"),
}


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[f"{old}-{new}" for old, new in PAIRS])
def test_each_pair_through_the_writer(standing: Standing, old: VersionState, new: VersionState) -> None:
    if new is VersionState.TRAINING:
        assert new not in LEGAL[old].split()
        assert new not in WAYS
        return
    refused: list[RegistryError] = []

    def work(writer: Writer) -> None:
        version = writer.version_by_id(standing.versions[old].id)
        assert version.state is old
        try:
            WAYS[new](writer, version)
        except (IllegalTransitionError, PromotionError) as error:
            refused.append(error)
        # A version that is retired already stays so when the next champion comes: that is no move.
        assert version.state is (old if refused else new)
        raise UndoError

    with suppress(UndoError):
        standing.registry.write(work)
    legal = new in LEGAL[old].split() or (old, new) == (VersionState.RETIRED, VersionState.RETIRED)
    assert legal == (not refused)
