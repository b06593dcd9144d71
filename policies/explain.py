"""A decision in words: what was seen, suite by suite, what the policy asked for, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policies.decide import Decision, Reason, number, percent
from policies.evidence import SuiteEvidence


class Paragraph(NamedTuple):
    """One suite, or one kind of which there was none, with its sentences; `passed` as the gate saw it."""

    title: str
    passed: bool
    sentences: tuple[str, ...]


def explain(decision: Decision) -> tuple[Paragraph, ...]:
    """The decision's paragraphs: what it refused for first, then the rest in the order of the evidence."""
    by_suite: dict[str, list[Reason]] = {}
    for reason in decision.reasons:
        by_suite.setdefault(reason.suite, []).append(reason)
    known = {item.suite for item in decision.evidence}
    paragraphs = [
        *(_of_evidence(item, by_suite.get(item.suite, [])) for item in decision.evidence),
        *(_of_nothing(suite, reasons) for suite, reasons in by_suite.items() if suite not in known),
    ]
    return tuple(sorted(paragraphs, key=lambda paragraph: paragraph.passed))


def _of_nothing(suite: str, reasons: list[Reason]) -> Paragraph:
    return Paragraph(suite, all(one.passed for one in reasons), tuple(_condition(one) for one in reasons))


def _of_evidence(item: SuiteEvidence, reasons: list[Reason]) -> Paragraph:
    title = f"{item.suite} ({item.kind}, {item.metric}, {item.n} cases)"
    sentences = (
        *_seen(item),
        *(_condition(reason) for reason in reasons),
        *(hint for reason in reasons if not reason.passed and (hint := _way_out(reason, item))),
        *_sight(item),
    )
    return Paragraph(title, all(reason.passed for reason in reasons), sentences)


def _seen(item: SuiteEvidence) -> Iterator[str]:
    if item.champion is None:
        yield f"The candidate has {number(item.candidate)}; there is no champion's result to compare it with."
        return
    old, new = number(item.champion), number(item.candidate)
    moved = f"{_cases(item.broke)} got worse and {_cases(item.mended)} got better"
    yield f"The champion has {old} and the candidate {new}, on the same cases: {moved}."
    low, high = number(item.low), number(item.high)
    yield f"The true difference lies between {low} and {high} ({percent(item.confidence)} confidence)."


def _cases(count: int | None) -> str:
    return "an unknown number" if count is None else "1 case" if count == 1 else f"{count} cases"


def _condition(reason: Reason) -> str:
    mark = "Holds" if reason.passed else "Does not hold"
    return f"{mark}: {reason.text.removeprefix(f'{reason.suite}: ')}."


def _way_out(reason: Reason, item: SuiteEvidence) -> str:
    """What would make a condition hold that does not; "" where the condition says so itself."""
    if reason.rule == "cases":
        return "More cases are needed before anything is judged."
    if reason.rule == "floor":
        return "No comparison helps here: the candidate itself must answer more cases rightly."
    if reason.rule not in ("margin", "gain") or item.difference is None:
        return ""
    worse = item.difference < 0 if item.higher_is_better else item.difference > 0
    if reason.rule == "gain":
        return "The update has to be learnt better: train on more examples, or for longer."
    if item.cases_needed is not None and item.cases_needed > item.n and not _clearly_worse(item):
        enough = f"with about {item.cases_needed} cases an equal candidate would be shown to be one"
        return f"Doubt refuses: {enough}."
    if worse:
        return (
            "The candidate lost what the champion knew: more replay, fewer steps, or a lower learning rate."
        )
    return ""


def _clearly_worse(item: SuiteEvidence) -> bool:
    """The whole interval lies on the side of a worsening."""
    end = item.high if item.higher_is_better else item.low
    return end is not None and (end < 0 if item.higher_is_better else end > 0)


def _sight(item: SuiteEvidence) -> Iterator[str]:
    if item.detectable_drop is not None:
        word = "drop" if item.higher_is_better else "rise"
        least = number(item.detectable_drop)
        yield f"A suite like this shows a {word} of {least} in four of five tries; of less, not so often."
