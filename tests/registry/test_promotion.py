"""Promotion and rollback, on both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registry.errors import (
    IllegalTransitionError,
    InvalidRecordError,
    NothingToRollBackError,
    NotPassedError,
    PromotionError,
    RegistryError,
    StaleDecisionError,
)
from registry.registry import Registry
from registry.values import Standing
from tests.registry.line import Line, everything, finish, judge, start


def refused_without_a_trace(
    line: Line, step: Callable[[], object], error: type[RegistryError]
) -> RegistryError:
    """The step fails with that very error, and neither a row nor the champion has changed."""
    with line.registry.read() as reader:
        before, champion = everything(reader), reader.champion(line.id)
    with pytest.raises(error) as caught:
        step()
    with line.registry.read() as reader:
        assert everything(reader) == before
        assert reader.champion(line.id) == champion
    return caught.value


def test_a_base_version_is_champion_at_once(line: Line) -> None:
    assert line.champion() == 1
    assert line.state(1) == "champion"


def test_promotion_is_recorded_in_full(line: Line) -> None:
    candidate = line.judged()
    promotion = line.promote(candidate.number)
    assert promotion.previous is not None
    assert (promotion.version.number, promotion.previous.number, promotion.waived) == (2, 1, False)
    assert promotion.decision is not None
    assert promotion.decision.verdict == "pass"
    assert (line.state(1), line.state(2)) == ("retired", "champion")
    with line.registry.read() as reader:
        event = reader.events()[-1]
        told = reader.outbox_rows("champion.moved")[-1]
        move = reader.moves(line.id)[-1]
    assert (event.kind, event.subject, event.actor) == ("champion.moved", "version/default/2", "ada")
    assert event.payload["decision_id"] == promotion.decision.id
    assert told.event_seq == move.event_seq == event.seq
    expected = {"model": "default", "version": 2, "previous": 1, "cause": "promote", "waiver": None}
    assert expected.items() <= told.payload.items()
    assert (move.version_id, move.previous_id, move.cause) == (candidate.id, promotion.previous.id, "promote")


def test_the_decision_against_an_older_champion_is_stale(line: Line) -> None:
    first, second = line.judged(), line.judged()
    line.promote(first.number)
    error = refused_without_a_trace(line, lambda: line.promote(second.number), StaleDecisionError)
    assert error.message == (
        "version `3` was judged against champion version `1`, but version `2` is champion now"
    )
    assert error.hint == "run the gate again: `adaptman evaluate 3`"


def test_a_waiver_does_not_mend_a_stale_decision(line: Line) -> None:
    first, second = line.judged(), line.judged("refuse")
    line.promote(first.number)
    refused_without_a_trace(line, lambda: line.promote(second.number, "trust me"), StaleDecisionError)


def test_judging_again_mends_a_stale_decision(line: Line) -> None:
    first, second = line.judged(), line.judged()
    line.promote(first.number)
    line.registry.write(lambda writer: judge(writer, writer.version_by_id(second.id)))
    assert line.promote(second.number).version.number == 3
    assert line.champion() == 3


def test_the_latest_decision_counts(line: Line) -> None:
    candidate = line.judged("pass")
    line.registry.write(lambda writer: judge(writer, writer.version_by_id(candidate.id), "refuse"))
    refused_without_a_trace(line, lambda: line.promote(candidate.number), NotPassedError)


def test_a_refused_version_needs_a_waiver(line: Line) -> None:
    candidate = line.judged("refuse")
    error = refused_without_a_trace(line, lambda: line.promote(candidate.number), NotPassedError)
    assert "waiver" in error.hint
    promotion = line.promote(candidate.number, "  the suite is wrong  ")
    assert promotion.waived
    with line.registry.read() as reader:
        assert reader.moves(line.id)[-1].waiver == "the suite is wrong"
        assert reader.events()[-1].payload["waiver"] == "the suite is wrong"
        assert reader.outbox_rows()[-1].payload["waiver"] == "the suite is wrong"


@pytest.mark.parametrize("verdict", ["pass", "refuse"])
def test_a_waiver_needs_a_reason(line: Line, verdict: str) -> None:
    candidate = line.judged(verdict)
    error = refused_without_a_trace(line, lambda: line.promote(candidate.number, " \n"), PromotionError)
    assert error.message == "a waiver needs a reason"


def test_a_version_that_passed_is_not_marked_as_waived(line: Line) -> None:
    candidate = line.judged()
    assert not line.promote(candidate.number, "to be on the safe side").waived


def test_a_version_in_training_cannot_be_promoted(line: Line) -> None:
    version = line.registry.write(lambda writer: start(writer, line.id))
    error = refused_without_a_trace(line, lambda: line.promote(version.number, "please"), NotPassedError)
    assert error.message == "version `2` is `training`, not `passed`"


def test_a_version_that_was_not_judged_cannot_be_promoted(line: Line) -> None:
    version = line.registry.write(lambda writer: finish(writer, start(writer, line.id)))
    error = refused_without_a_trace(line, lambda: line.promote(version.number), NotPassedError)
    assert error.hint == "run `adaptman evaluate 2`"


def test_the_champion_cannot_be_promoted(line: Line) -> None:
    line.promoted()
    error = refused_without_a_trace(line, lambda: line.promote(2), PromotionError)
    assert error.message == "version `2` is champion already"


def test_a_retired_version_cannot_be_promoted(line: Line) -> None:
    line.promoted()
    line.promoted()
    refused_without_a_trace(line, lambda: line.promote(2), NotPassedError)


def test_the_champion_cannot_be_discarded(line: Line) -> None:
    with line.registry.read() as reader:
        champion = reader.version(line.id, 1)
    refused_without_a_trace(
        line,
        lambda: line.registry.write(lambda writer: writer.discard_version(champion.id, "old")),
        IllegalTransitionError,
    )


def test_rollback_brings_the_former_champion_back(line: Line) -> None:
    line.promoted()
    line.promoted()
    promotion = line.rollback()
    assert promotion.previous is not None
    assert (promotion.version.number, promotion.previous.number) == (2, 3)
    assert promotion.decision is None
    assert [line.state(number) for number in (1, 2, 3)] == ["retired", "champion", "retired"]
    with line.registry.read() as reader:
        told = reader.outbox_rows("champion.moved")[-1].payload
    assert {"version": 2, "previous": 3, "cause": "rollback"}.items() <= told.items()


def test_a_rollback_of_a_rollback_goes_forward_again(line: Line) -> None:
    line.promoted()
    line.promoted()
    assert [line.rollback().version.number for _ in range(4)] == [2, 3, 2, 3]


def test_after_a_rollback_and_a_promotion_the_way_back_is_the_one_before(line: Line) -> None:
    line.promoted()
    line.promoted()
    line.rollback()
    line.promoted()
    assert line.champion() == 4
    assert line.rollback().version.number == 2


def test_a_rollback_makes_decisions_stale(line: Line) -> None:
    line.promoted()
    candidate = line.judged()
    line.rollback()
    refused_without_a_trace(line, lambda: line.promote(candidate.number), StaleDecisionError)


def test_rolling_there_and_back_makes_the_decision_fresh_again(line: Line) -> None:
    line.promoted()
    candidate = line.judged()
    line.rollback()
    line.rollback()
    assert line.promote(candidate.number).version.number == candidate.number


def test_nothing_to_roll_back_to(line: Line) -> None:
    error = refused_without_a_trace(line, line.rollback, NothingToRollBackError)
    assert error.message == "model `default` has no former champion"


def test_a_line_without_base_version(registry: Registry) -> None:
    model = registry.write(lambda writer: writer.add_model("bare", "b" * 64, "here", {}))
    version = registry.write(lambda writer: finish(writer, start(writer, model.id)))
    registry.write(lambda writer: judge(writer, writer.version_by_id(version.id)))
    promotion = registry.write(lambda writer: writer.promote(model.id, 1))
    assert promotion.previous is None
    with pytest.raises(NothingToRollBackError):
        registry.write(lambda writer: writer.rollback(model.id))


def test_two_lines_have_a_champion_each(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")
    other.promoted()
    assert (line.champion(), other.champion()) == (1, 2)
    with pytest.raises(NothingToRollBackError):
        line.rollback()


def test_a_champion_of_another_line_cannot_be_judged_against(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")
    with registry.read() as reader:
        foreign = reader.champion(other.id)
    assert foreign is not None
    version = registry.write(lambda writer: finish(writer, start(writer, line.id)))
    with pytest.raises(InvalidRecordError, match="not of model `default`"):
        registry.write(lambda writer: judge(writer, writer.version_by_id(version.id), champion_id=foreign.id))


def test_an_unknown_verdict_is_refused(line: Line) -> None:
    with pytest.raises(InvalidRecordError, match="`maybe`"):
        line.judged("maybe")
    with line.registry.read() as reader:
        assert len(reader.versions(line.id)) == 1


def stands(line: Line) -> Standing:
    with line.registry.read() as reader:
        return reader.standing(line.id)


def test_how_a_line_stands_from_its_first_day(line: Line) -> None:
    assert stands(line) == Standing(champion=1, previous=None, challenger=None)
    line.judged("refuse")
    assert stands(line) == Standing(1, None, None)
    line.judged()
    older = line.judged().number
    newest = line.judged().number
    assert stands(line) == Standing(1, None, newest)
    line.promote(older)
    assert stands(line) == Standing(older, 1, None), "the others passed against a former champion"
    line.rollback()
    assert stands(line) == Standing(1, older, newest), "now they may be promoted again"


def test_a_discarded_challenger_is_one_no_more_and_mlflow_is_told(registry: Registry, line: Line) -> None:
    first, second = line.judged(), line.judged()
    registry.write(lambda writer: writer.discard_version(second.id, "slow"))
    assert stands(line) == Standing(1, None, first.number)
    with registry.read() as reader:
        told = reader.outbox_rows("version.ended")
    assert [(row.payload["version"], row.payload["state"], row.payload["reason"]) for row in told] == [
        (second.number, "discarded", "slow")
    ]


def test_a_version_without_weights_ends_without_a_word_to_mlflow(registry: Registry, line: Line) -> None:
    version = registry.write(lambda writer: start(writer, line.id))
    registry.write(lambda writer: writer.fail_version(version.id, "out of memory"))
    registry.write(lambda writer: writer.discard_version(version.id, "tidy"))
    with registry.read() as reader:
        assert reader.outbox_rows("version.ended") == []
