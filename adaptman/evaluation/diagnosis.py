"""Why a case failed: the form of the call, or what it says.

A failed case is asked once more, and only calls in the output format, of the tools shown and with arguments
that fit them, can be written. Where the reply is right now, the model knew the call and not its form; where
it is not, no format would have helped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from adaptman.evaluation.runner import CaseOutcome, Conversation
from adaptman.evaluation.scorers import score_reply
from adaptman.evaluation.suites import Case, Suite
from adaptman.toolspec.formats import OutputFormat


class Cause(StrEnum):
    """What a failed case failed at."""

    FORM = "form"
    """Right under the grammar."""
    KNOWLEDGE = "knowledge"
    """Wrong under the grammar too."""
    UNKNOWN = "unknown"
    """The format or a tool's schema has no grammar, or the reply did not end."""


class GuidedAnswerer(Protocol):
    """A model that can be asked for so many calls of the tools shown and nothing else."""

    def answer_guided(
        self,
        conversations: Sequence[Conversation],
        counts: Sequence[int],
        *,
        max_new_tokens: int,
        on_done: Callable[[int], None],
    ) -> list[str | None]:
        """One reply a conversation, of that many calls; None where that cannot be had."""
        ...


def to_diagnose(suite: Suite, outcomes: Sequence[CaseOutcome]) -> list[Case]:
    """The failed cases of which it is known which calls would be right."""
    failed = {outcome.case_id for outcome in outcomes if outcome.score < 1}
    return [case for case in suite.cases if case.id in failed and case.accept]


def diagnose(
    suite: Suite,
    cases: Sequence[Case],
    answerer: GuidedAnswerer,
    fmt: OutputFormat,
    *,
    max_new_tokens: int,
    on_done: Callable[[int], None],
) -> dict[str, Cause]:
    """By case, why it failed."""
    conversations = [Conversation(case.messages, case.tools) for case in cases]
    counts = [len(case.accept) for case in cases]
    replies = answerer.answer_guided(conversations, counts, max_new_tokens=max_new_tokens, on_done=on_done)
    return {case.id: _cause(suite, case, reply, fmt) for case, reply in zip(cases, replies, strict=True)}


def _cause(suite: Suite, case: Case, reply: str | None, fmt: OutputFormat) -> Cause:
    if reply is None:
        return Cause.UNKNOWN
    return Cause.FORM if score_reply(suite.kind, case, reply, fmt).value == 1 else Cause.KNOWLEDGE


def counted(causes: Mapping[str, str]) -> dict[str, int]:
    """How many cases have which cause, those that have none left out."""
    found = Counter(causes.values())
    return {cause.value: found[cause.value] for cause in Cause if found[cause.value]}
