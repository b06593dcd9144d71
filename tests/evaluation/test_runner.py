"""A suite is asked in order, scored case by case, and summed up with an interval."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import pytest

from adaptman.errors import SuiteError
from adaptman.evaluation.runner import (
    NOTHING_YET,
    Batch,
    Conversation,
    SuiteResult,
    run_suite,
    whole_batches,
)
from adaptman.evaluation.statistics import wilson
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite
from adaptman.toolspec.formats import output_format

HERMES = output_format("hermes")


class TextNll(NamedTuple):
    total: float
    tokens: int


class Scripted:
    """An answerer that says what it was given to say, and remembers what it was asked."""

    def __init__(self, replies: Sequence[str] = (), likelihoods: Sequence[TextNll] = ()) -> None:
        self.replies, self.likelihoods = list(replies), list(likelihoods)
        self.asked: list[Conversation] = []
        self.weighed: list[Conversation] = []
        self.limit = 0

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, on_done: Callable[[int], None]
    ) -> list[str]:
        self.asked, self.limit = list(conversations), max_new_tokens
        on_done(len(conversations))
        return self.replies

    def nll(self, conversations: Sequence[Conversation], *, on_done: Callable[[int], None]) -> list[TextNll]:
        self.weighed = list(conversations)
        on_done(len(conversations))
        return self.likelihoods


def suite(kind: SuiteKind, *cases: dict[str, Any]) -> Suite:
    lines = [json.dumps({"id": f"case-{number}", **case}) for number, case in enumerate(cases)]
    return read_suite("\n".join(lines).encode(), name="mine", kind=kind, origin="mine.jsonl")


def run(one: Suite, answerer: Scripted, done: list[int] | None = None) -> SuiteResult:
    ticks = count(100.0, 2.5)
    report = (done if done is not None else []).append
    return run_suite(one, answerer, HERMES, max_new_tokens=32, clock=lambda: next(ticks), on_done=report)


def question(answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Say {answer}"}], "answers": [answer]}


def sample(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Go on"}, {"role": "assistant", "content": text}]}


def test_a_general_suite_is_asked_and_scored() -> None:
    one = suite(SuiteKind.GENERAL, question("yes"), question("no"), question("maybe"))
    answerer, done = Scripted(["yes!", "yes", "Well, maybe."]), list[int]()
    result = run(one, answerer, done)
    assert [(item.case_id, item.score, item.output) for item in result.outcomes] == [
        ("case-0", 1.0, "yes!"),
        ("case-1", 0.0, "yes"),
        ("case-2", 1.0, "Well, maybe."),
    ]
    assert result.outcomes[1].detail == "expected `no`"
    assert result.value == pytest.approx(2 / 3)
    assert (result.n, result.duration_s) == (3, 2.5)
    assert (result.low, result.high) == wilson(2, 3)
    assert (result.suite_digest, result.suite_name, result.kind) == (one.digest, "mine", SuiteKind.GENERAL)
    assert (result.metric, result.higher_is_better) == ("accuracy", True)
    assert done == [3]
    assert answerer.limit == 32
    assert [asked.messages for asked in answerer.asked] == [case.messages for case in one.cases]


def test_drift_is_nats_per_token_and_lower_is_better() -> None:
    one = suite(SuiteKind.DRIFT, sample("a"), sample("b"), sample("c"))
    result = run(one, Scripted(likelihoods=[TextNll(3.0, 2), TextNll(4.0, 4), TextNll(1.0, 2)]))
    assert [item.score for item in result.outcomes] == [1.5, 1.0, 0.5]
    assert (result.value, result.higher_is_better, result.metric) == (1.0, False, "nats_per_token")
    assert 0.5 <= result.low < 1.0 < result.high <= 1.5
    assert {item.output for item in result.outcomes} == {""}


def choice(answer: str, *choices: str) -> dict[str, Any]:
    return {**question(answer), "choices": choices, "answer": answer, "answers": None}


def choices(*cases: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in case.items() if value is not None} for case in cases]


def test_a_choice_is_scored_by_its_likelihood_per_character() -> None:
    one = suite(SuiteKind.GENERAL, *choices(choice("Oslo", "Oslo", "Bergen"), choice("no", "yes", "no")))
    # Bergen is less likely as a whole and likelier per character; of equals the first is taken.
    likelihoods = [TextNll(4.0, 2), TextNll(5.4, 2), TextNll(3.0, 1), TextNll(2.0, 1)]
    result = run(one, Scripted(likelihoods=likelihoods))
    assert [item.score for item in result.outcomes] == [0.0, 0.0]
    assert result.outcomes[0].detail == "chose `Bergen`, expected `Oslo`; log-likelihoods -4.00, -5.40"
    right = [TextNll(4.0, 2), TextNll(6.6, 2), TextNll(3.3, 1), TextNll(2.0, 1)]
    assert [item.score for item in run(one, Scripted(likelihoods=right)).outcomes] == [1.0, 1.0]


def test_choices_and_questions_are_asked_apart_and_come_in_the_suites_order() -> None:
    one = suite(SuiteKind.GENERAL, *choices(question("a"), choice("b", "b", "c", "d"), question("e")))
    answerer, done = (
        Scripted(["a", "nothing"], [TextNll(1.0, 1), TextNll(2.0, 1), TextNll(3.0, 1)]),
        list[int](),
    )
    result = run(one, answerer, done)
    assert [(item.case_id, item.score) for item in result.outcomes] == [
        ("case-0", 1.0),
        ("case-1", 1.0),
        ("case-2", 0.0),
    ]
    assert sum(done) == 3
    asked = [turns.messages[-1] for turns in answerer.weighed]
    assert asked == [{"role": "assistant", "content": text} for text in "bcd"]


def test_progress_counts_cases_and_not_choices() -> None:
    class Slow(Scripted):
        def nll(
            self, conversations: Sequence[Conversation], *, on_done: Callable[[int], None]
        ) -> list[TextNll]:
            for _ in conversations:
                on_done(1)
            return [TextNll(1.0, 1)] * len(conversations)

    done: list[int] = []
    run(suite(SuiteKind.GENERAL, *choices(choice("a", "a", "b", "c"), choice("d", "d", "e"))), Slow(), done)
    assert done == [0, 0, 1, 0, 1]


def test_a_choice_without_a_likelihood_names_the_case() -> None:
    one = suite(SuiteKind.GENERAL, *choices(choice("a", "a", "b")))
    with pytest.raises(SuiteError, match="suite `mine`, case `case-0`: no likelihood"):
        run(one, Scripted(likelihoods=[TextNll(1.0, 1), TextNll(float("nan"), 1)]))


def test_a_custom_suite_is_scored_by_its_checks() -> None:
    base = {"messages": [{"role": "user", "content": "?"}]}
    one = suite(SuiteKind.CUSTOM, {**base, "check": {"contains": "x"}}, {**base, "check": {"regex": "^y+$"}})
    result = run(one, Scripted(["axb", "yyz"]))
    assert [item.score for item in result.outcomes] == [1.0, 0.0]
    assert (result.metric, result.binary, result.low) == ("pass_rate", True, wilson(1, 2).low)


@pytest.mark.parametrize("nll", [TextNll(float("nan"), 3), TextNll(float("inf"), 3), TextNll(1.0, 0)])
def test_a_likelihood_that_is_none_names_the_case(nll: TextNll) -> None:
    one = suite(SuiteKind.DRIFT, sample("a"), sample("b"))
    with pytest.raises(SuiteError, match="suite `mine`, case `case-1`: no likelihood") as caught:
        run(one, Scripted(likelihoods=[TextNll(1.0, 2), nll]))
    assert caught.value.hint


def test_a_reply_too_few_is_never_papered_over() -> None:
    with pytest.raises(ValueError, match="zip"):
        run(suite(SuiteKind.GENERAL, question("a"), question("b")), Scripted(["a"]))


def test_a_result_is_stored_and_read_back_whole() -> None:
    result = run(suite(SuiteKind.GENERAL, question("yes"), question("no")), Scripted(["yes", "never"]))
    record = json.loads(json.dumps(result.to_dict()))
    assert SuiteResult.from_dict(record) == result


@pytest.mark.parametrize("change", [{"kind": "other"}, {"outcomes": [{"case_id": "a"}]}, {"extra": 1}])
def test_a_record_of_something_else_is_refused(change: dict[str, Any]) -> None:
    result = run(suite(SuiteKind.GENERAL, question("yes"), question("no")), Scripted(["yes", "never"]))
    with pytest.raises(SuiteError, match="not the record of a suite's run"):
        SuiteResult.from_dict({**result.to_dict(), **change})


class Telling(Scripted):
    """Says of each question which it is and with how many others it was asked."""

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, on_done: Callable[[int], None]
    ) -> list[str]:
        on_done(len(conversations))
        return [f"{one.messages[-1]['content']} with {len(conversations)}" for one in conversations]


MANY = suite(SuiteKind.GENERAL, *(question(str(at)) for at in range(150)))


def in_batches(begun: Batch = NOTHING_YET, **options: Any) -> tuple[SuiteResult, list[Batch]]:
    told: list[Batch] = []
    result = run_suite(
        MANY, Telling(), HERMES, max_new_tokens=8, clock=count(0.0, 2.5).__next__, on_done=lambda done: None,
        begun=begun, on_batch=told.append, **options,
    )  # fmt: skip
    return result, told


def test_a_suite_is_asked_batch_by_batch() -> None:
    result, told = in_batches()
    assert [len(batch.outcomes) for batch in told] == [64, 64, 22]
    assert result.outcomes == tuple(outcome for batch in told for outcome in batch.outcomes)
    assert (result.n, result.duration_s, result.unanswered) == (150, 7.5, 0)


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_a_run_that_goes_on_ends_as_one_that_was_not_disturbed(batches: int) -> None:
    undisturbed, told = in_batches()
    kept = told[:batches]
    begun = Batch(sum((batch.outcomes for batch in kept), ()), sum(batch.seconds for batch in kept))
    resumed, more = in_batches(whole_batches(MANY, begun))
    assert resumed == undisturbed
    assert kept + more == told


@pytest.mark.parametrize(
    ("kept", "whole"), [(0, 0), (1, 0), (63, 0), (64, 64), (100, 64), (149, 128), (150, 150)]
)
def test_half_a_batch_is_asked_again(kept: int, whole: int) -> None:
    undisturbed, _ = in_batches()
    assert len(whole_batches(MANY, Batch(undisturbed.outcomes[:kept], 1.0)).outcomes) == whole


def test_outcomes_of_other_cases_are_not_gone_on_with() -> None:
    undisturbed, _ = in_batches()
    assert whole_batches(MANY, Batch(undisturbed.outcomes[1:], 1.0)).outcomes == ()


def test_large_suites_are_asked_in_sixteen_batches() -> None:
    large = suite(SuiteKind.GENERAL, *(question(str(at)) for at in range(1600)))
    sizes: list[int] = []
    run_suite(
        large, Telling(), HERMES, max_new_tokens=8, clock=lambda: 0.0, on_done=sizes.append,
    )  # fmt: skip
    assert sizes == [100] * 16


def test_a_run_ends_as_soon_as_it_is_settled() -> None:
    seen: list[int] = []

    def is_settled(result: SuiteResult) -> bool:
        seen.append(result.n)
        return result.n >= 128

    result, told = in_batches(is_settled=is_settled)
    assert (result.n, result.unanswered, len(told), seen) == (128, 22, 2, [64, 128])
    assert SuiteResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_record_from_before_early_stopping_is_of_a_whole_run() -> None:
    record = in_batches()[0].to_dict()
    del record["unanswered"]
    assert SuiteResult.from_dict(record).unanswered == 0
