"""Run a suite: ask the model every case, score each reply, and sum up with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from adaptman.errors import SuiteError
from adaptman.evaluation.scorers import is_stale, score_choices, score_reply
from adaptman.evaluation.statistics import Interval, bca, wilson
from adaptman.evaluation.suites import Case, Suite, SuiteKind, is_binary
from adaptman.toolspec.formats import OutputFormat

CONFIDENCE = 0.95

EVALUATION_VERSION = 1
"""To be raised with each change of asking or scoring after which the same weights may be scored otherwise."""

_FEWEST_TOGETHER = 64
_MOST_BATCHES = 16


class Conversation(NamedTuple):
    """What the model is shown: messages (role, content) and tools in the OpenAI form, () for none."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]


class Likelihood(Protocol):
    """Negative log-likelihood of a text: its sum in nats, over so many tokens."""

    @property
    def total(self) -> float: ...
    @property
    def tokens(self) -> int: ...


class Answerer(Protocol):
    """A model that can be asked. `on_done` is told how many conversations were newly finished."""

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, on_done: Callable[[int], None]
    ) -> list[str]:
        """One reply a conversation, in order, decoded greedily."""
        ...

    def nll(
        self, conversations: Sequence[Conversation], *, on_done: Callable[[int], None]
    ) -> Sequence[Likelihood]:
        """How likely the last message of each conversation, the assistant's, is to the model."""
        ...


class CaseOutcome(NamedTuple):
    """How one case went: its score, what the model wrote, and what was wrong in words.

    Nothing is written where likelihoods make the score. A case that was made from a change has its `rule`,
    and is `stale` where a wrong reply makes a call in the form of before.
    """

    case_id: str
    score: float
    output: str
    detail: str
    rule: str = ""
    stale: bool = False


class Batch(NamedTuple):
    """Cases that were asked together, in the suite's order, and the seconds that it took."""

    outcomes: tuple[CaseOutcome, ...]
    seconds: float


NOTHING_YET = Batch((), 0.0)


@dataclass(frozen=True)
class SuiteResult:
    """One run of one suite. `low` and `high`: the 95 % interval of `value`, Wilson's for 0/1, else BCa's.

    A run that ended early holds the first `n` cases of the suite, and `unanswered` says how many are left.
    """

    suite_digest: str
    suite_name: str
    kind: SuiteKind
    metric: str
    higher_is_better: bool
    outcomes: tuple[CaseOutcome, ...] = field(repr=False)
    value: float
    low: float
    high: float
    n: int
    duration_s: float
    unanswered: int = 0

    @property
    def stale(self) -> dict[str, list[int]]:
        """By rule: the stale replies, and the cases; empty where no case was made from a change."""
        found: dict[str, list[int]] = {}
        for outcome in self.outcomes:
            if outcome.rule:
                counts = found.setdefault(outcome.rule, [0, 0])
                counts[0] += outcome.stale
                counts[1] += 1
        return dict(sorted(found.items()))

    @property
    def binary(self) -> bool:
        """A case has 1 or 0, right or wrong; otherwise scores are graded."""
        return is_binary(self.metric)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, outcomes and all."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            **plain,
            "kind": self.kind.value,
            "outcomes": [_plain(outcome) for outcome in self.outcomes],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> SuiteResult:
        """What `to_dict` wrote.

        Raises:
            SuiteError: it is not the record of a run.
        """
        try:
            outcomes = tuple(CaseOutcome(**item) for item in record["outcomes"])
            return cls(**{**record, "kind": SuiteKind(record["kind"]), "outcomes": outcomes})
        except (TypeError, KeyError, ValueError) as error:
            raise SuiteError(f"not the record of a suite's run: {error}") from None


def _plain(outcome: CaseOutcome) -> dict[str, Any]:
    """A case that was made from no change has nothing to say of it."""
    told = outcome._asdict()
    return told if outcome.rule else {key: told[key] for key in ("case_id", "score", "output", "detail")}


def run_suite(
    suite: Suite,
    answerer: Answerer,
    fmt: OutputFormat,
    *,
    max_new_tokens: int,
    clock: Callable[[], float],
    on_done: Callable[[int], None],
    begun: Batch = NOTHING_YET,
    on_batch: Callable[[Batch], None] = lambda batch: None,
    is_settled: Callable[[SuiteResult], bool] = lambda result: False,
) -> SuiteResult:
    """Ask every case and score it, batch after batch. `clock` gives seconds.

    `begun` are the outcomes of an earlier run's batches, `on_batch` is told of each new one: a run that goes
    on asks the same cases together as one that was not disturbed, so that every reply is the same. It ends
    early when `is_settled` says so of what is answered.

    Raises:
        SuiteError: the model gave a likelihood that is not a finite number of nats over at least one token.
        ValueError: the answerer gave more or fewer replies than there are cases.
    """
    so_far = begun
    for start in range(len(begun.outcomes), len(suite.cases), _together(suite)):
        if so_far.outcomes and is_settled(_summed_up(suite, so_far)):
            break
        started = clock()
        cases = suite.cases[start : start + _together(suite)]
        outcomes = _answered(suite, cases, answerer, fmt, max_new_tokens=max_new_tokens, on_done=on_done)
        batch = Batch(tuple(outcomes), clock() - started)
        on_batch(batch)
        so_far = Batch(so_far.outcomes + batch.outcomes, so_far.seconds + batch.seconds)
    return _summed_up(suite, so_far)


def whole_batches(suite: Suite, found: Batch) -> Batch:
    """What of `found`, the outcomes of an earlier run, a run of `suite` can go on from: whole batches."""
    at, size = 0, _together(suite)
    while at < len(suite.cases):
        expected = [case.id for case in suite.cases[at : at + size]]
        if [outcome.case_id for outcome in found.outcomes[at : at + size]] != expected:
            break
        at += len(expected)
    return Batch(found.outcomes[:at], found.seconds)


def _together(suite: Suite) -> int:
    """Cases asked together: enough to keep a machine busy, and few enough to lose little by a kill."""
    return max(_FEWEST_TOGETHER, math.ceil(len(suite.cases) / _MOST_BATCHES))


def _answered(
    suite: Suite,
    cases: Sequence[Case],
    answerer: Answerer,
    fmt: OutputFormat,
    *,
    max_new_tokens: int,
    on_done: Callable[[int], None],
) -> list[CaseOutcome]:
    if suite.kind is SuiteKind.DRIFT:
        conversations = [Conversation(case.messages, case.tools) for case in cases]
        likelihoods = answerer.nll(conversations, on_done=on_done)
        return [_drift(suite, case, nll) for case, nll in zip(cases, likelihoods, strict=True)]
    answered = _choose(suite, [case for case in cases if case.choices], answerer, on_done)
    asked = [case for case in cases if not case.choices]
    if asked:
        conversations = [Conversation(case.messages, case.tools) for case in asked]
        replies = answerer.answer(conversations, max_new_tokens=max_new_tokens, on_done=on_done)
        pairs = zip(asked, replies, strict=True)
        answered |= {case.id: _scored(suite.kind, case, text, fmt) for case, text in pairs}
    return [answered[case.id] for case in cases]


def _choose(
    suite: Suite, cases: Sequence[Case], answerer: Answerer, on_done: Callable[[int], None]
) -> dict[str, CaseOutcome]:
    """The outcomes of the cases with choices, by id; each choice is scored as the assistant's whole reply."""
    if not cases:
        return {}
    conversations = [
        Conversation((*case.messages, {"role": "assistant", "content": choice}), case.tools)
        for case in cases
        for choice in case.choices
    ]
    done = _InCases(on_done, len(cases), len(conversations))
    likelihoods = iter(answerer.nll(conversations, on_done=done))
    return {case.id: _chosen(suite, case, [next(likelihoods) for _ in case.choices]) for case in cases}


class _InCases:
    """Told of finished conversations, of which a case has several, it tells on of cases."""

    def __init__(self, on_done: Callable[[int], None], cases: int, conversations: int) -> None:
        self._on_done, self._cases, self._conversations = on_done, cases, conversations
        self._finished = 0

    def __call__(self, count: int) -> None:
        before = self._finished * self._cases // self._conversations
        self._finished += count
        self._on_done(self._finished * self._cases // self._conversations - before)


def _chosen(suite: Suite, case: Case, likelihoods: Sequence[Likelihood]) -> CaseOutcome:
    for nll in likelihoods:
        _check_likelihood(suite, case, nll)
    score = score_choices(case, [-nll.total for nll in likelihoods])
    totals = ", ".join(f"{-nll.total:.2f}" for nll in likelihoods)
    return CaseOutcome(case.id, score.value, "", f"{score.detail or 'right'}; log-likelihoods {totals}")


def _summed_up(suite: Suite, found: Batch) -> SuiteResult:
    unanswered = len(suite.cases) - len(found.outcomes)
    return summarize(suite, found.outcomes, duration_s=found.seconds, unanswered=unanswered)


def summarize(
    suite: Suite, outcomes: Sequence[CaseOutcome], *, duration_s: float, unanswered: int = 0
) -> SuiteResult:
    """The mean of the outcomes' scores, with its 95 % interval."""
    scores = [outcome.score for outcome in outcomes]
    interval = _interval(scores, binary=is_binary(suite.metric))
    return SuiteResult(
        suite_digest=suite.digest,
        suite_name=suite.name,
        kind=suite.kind,
        metric=suite.metric,
        higher_is_better=suite.higher_is_better,
        outcomes=tuple(outcomes),
        value=fmean(scores),
        low=interval.low,
        high=interval.high,
        n=len(scores),
        duration_s=duration_s,
        unanswered=unanswered,
    )


def _interval(scores: Sequence[float], *, binary: bool) -> Interval:
    return wilson(round(sum(scores)), len(scores), CONFIDENCE) if binary else bca(scores).interval(CONFIDENCE)


def _scored(kind: SuiteKind, case: Case, text: str, fmt: OutputFormat) -> CaseOutcome:
    score = score_reply(kind, case, text, fmt)
    stale = score.value < 1 and is_stale(case, text, fmt)
    return CaseOutcome(case.id, score.value, text, score.detail, case.rule, stale)


def _drift(suite: Suite, case: Case, nll: Likelihood) -> CaseOutcome:
    _check_likelihood(suite, case, nll)
    return CaseOutcome(case.id, nll.total / nll.tokens, "", f"{nll.total:.2f} nats over {nll.tokens} tokens")


def _check_likelihood(suite: Suite, case: Case, nll: Likelihood) -> None:
    if nll.tokens < 1 or not math.isfinite(nll.total):
        raise SuiteError(
            f"suite `{suite.name}`, case `{case.id}`: no likelihood: {nll.total} nats, {nll.tokens} tokens",
            hint="a model whose training diverged gives such figures: look at the curves of its training",
        )
