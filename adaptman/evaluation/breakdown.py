"""A suite's figures tool by tool, told from its cases and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

from adaptman.evaluation.runner import CONFIDENCE
from adaptman.evaluation.statistics import wilson
from adaptman.evaluation.suites import Suite, SuiteKind

KINDS = (SuiteKind.TARGET, SuiteKind.TOOLS, SuiteKind.CONTEXT)
"""The kinds of suite whose cases expect calls of certain tools."""


class ToolFigure(NamedTuple):
    """The share of right cases among those that expect a call of the tool, with its 95 % interval (Wilson).

    The figures are None where the suite was not run.
    """

    tool: str
    n: int
    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return self._asdict()


def by_tool(suite: Suite, scores: Mapping[str, float] | None) -> tuple[ToolFigure, ...]:
    """The figures of each tool that a case expects, the worst first. `scores` by case; None: not run.

    A case that expects several tools counts for each of them. A case without a score is left out.
    """
    if suite.kind not in KINDS:
        return ()
    cases: dict[str, list[str]] = {}
    for case in suite.cases:
        for tool in dict.fromkeys(call.name for call in case.accept):
            cases.setdefault(tool, []).append(case.id)
    figures = [_figure(tool, ids, scores) for tool, ids in cases.items()]
    return tuple(
        sorted(
            (figure for figure in figures if figure.n),
            key=lambda figure: (figure.value is None or figure.value, figure.tool),
        )
    )


def _figure(tool: str, ids: list[str], scores: Mapping[str, float] | None) -> ToolFigure:
    if scores is None:
        return ToolFigure(tool, len(ids), None, None, None)
    found = [scores[id_] for id_ in ids if id_ in scores]
    if not found:
        return ToolFigure(tool, 0, None, None, None)
    interval = wilson(round(sum(found)), len(found), CONFIDENCE)
    return ToolFigure(tool, len(found), fmean(found), interval.low, interval.high)
