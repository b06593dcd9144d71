"""How an evaluation is shown: the gate's verdict and its reasons, or the bare results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adaptman.cli._output import listed, plain

if TYPE_CHECKING:
    from adaptman.lifecycle.evaluate import Evaluation

_WORST = 5
# What a model did before an update, by the kind of the suite.
_KNOWN_BEFORE = ("tools", "irrelevance", "general")


def echo_evaluation(evaluation: Evaluation | None) -> None:
    """The decision with its reasons; the results alone where nothing was decided; the worst tools."""
    if evaluation is None:
        return
    if evaluation.decision is None:
        for result in evaluation.results:
            interval = f"{result.low:.2f} … {result.high:.2f}, n {result.n}"
            click.echo(f"  {result.suite_name}: {result.value:.2f} ({interval})")
            for rule, (stale, cases) in result.stale.items():
                click.echo(f"      stale, {rule.replace('-', ' ')}: {stale} of {cases}")
        _echo_tools(evaluation)
        _echo_diagnosis(evaluation)
        return
    from adaptman.lifecycle.promote import reason_lines, stale_lines

    told = evaluation.decision.to_dict()
    click.echo(plain("\n".join(reason_lines(told["reasons"]))))
    for line in stale_lines(told["evidence"]):
        click.echo(plain(line))
    for warning in told["warnings"]:
        click.echo(plain(f"  ! {warning}"))
    _echo_tools(evaluation)
    _echo_diagnosis(evaluation)
    if evaluation.decision.verdict.value == "pass":
        click.echo(f"\npromote it with `adaptman promote {evaluation.version.number}`")


def loses_only(evaluation: Evaluation) -> bool:
    """Whether the gate found the update learned, and refuses for what was there before alone."""
    if evaluation.decision is None:
        return False
    kinds = {item.suite: item.kind for item in evaluation.decision.evidence}
    judged = [(kinds.get(one.suite), one.rule, one.passed) for one in evaluation.decision.reasons]
    learned = any(kind == "target" and rule in ("gain", "floor") and ok for kind, rule, ok in judged)
    lost = [(kind, rule) for kind, rule, ok in judged if not ok]
    return (
        learned
        and bool(lost)
        and all(rule in ("margin", "floor") and kind in _KNOWN_BEFORE for kind, rule in lost)
    )


def _echo_tools(evaluation: Evaluation) -> None:
    """For each suite the tools that were called wrongly most often; all of them are in `--json`."""
    for suite, figures in evaluation.by_tool.items():
        wrong = [figure for figure in figures if figure.value is not None and figure.value < 1]
        shown = [f"{one.tool} {round((one.value or 0) * one.n)}/{one.n}" for one in wrong]
        if shown:
            told = f"{listed(shown, _WORST)}, of {len(figures)} tools"
            click.echo(plain(f"  {suite}, not always right: {told}"))


def _echo_diagnosis(evaluation: Evaluation) -> None:
    from adaptman.evaluation.diagnosis import counted

    for suite, causes in evaluation.diagnosis.items():
        told = ", ".join(f"{count} {cause}" for cause, count in counted(causes).items())
        click.echo(plain(f"  {suite}, {len(causes)} wrong calls, by what was wrong: {told}"))


def evaluation_dict(evaluation: Evaluation | None) -> dict[str, Any]:
    """The evaluation as plain JSON values, single outcomes left out."""
    if evaluation is None:
        return {"results": [], "decision": None}
    results = [
        {
            **{key: value for key, value in result.to_dict().items() if key != "outcomes"},
            **_diagnosis_dict(evaluation, result.suite_name),
            "by_tool": [one.to_dict() for one in evaluation.by_tool.get(result.suite_name, ())],
        }
        for result in evaluation.results
    ]
    return {"results": results, "decision": evaluation.decision.to_dict() if evaluation.decision else None}


def _diagnosis_dict(evaluation: Evaluation, suite: str) -> dict[str, Any]:
    causes = evaluation.diagnosis.get(suite)
    return {} if causes is None else {"diagnosis": dict(causes)}
