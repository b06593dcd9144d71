"""At which version a case broke or was mended: over stored results, asking the model where there are none."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ModelError, SuiteError
from adaptman.evaluation.runner import run_suite
from adaptman.evaluation.suites import Suite, is_binary
from adaptman.lifecycle import engine
from adaptman.lifecycle.evaluate import new_tokens
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.rendering import check_rendering
from adaptman.lifecycle.suites import RegisteredSuite, registered_suite
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry.tables import ModelVersion

RIGHT = 0.5
"""Scores are 1 or 0 in every suite that can be searched."""


class Step(NamedTuple):
    """One version of the line, oldest first. `right` is None where nobody knows."""

    number: int
    right: bool | None
    asked: bool
    """True when the model was asked now; False when the answer stood on record."""


class SchemaChange(NamedTuple):
    """The tool schema that came with a version, and the change set against the one before it."""

    number: int
    note: str
    change_set: Mapping[str, Any]


@dataclass(frozen=True)
class Bisection:
    """What was found on the way from the base to the version asked about."""

    suite: str
    case_id: str
    steps: tuple[Step, ...]
    broke: bool | None = None
    """True when the case went from right to wrong, False the other way round, None when it did neither."""
    changed: int | None = None
    """The version that did it; None where results are missing between `after` and `until`."""
    after: int | None = None
    until: int | None = None
    schema: SchemaChange | None = None
    """The tool schema that came with the version `changed`, if another than its parent's."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "suite": self.suite,
            "case": self.case_id,
            "broke": self.broke,
            "changed": self.changed,
            "after": self.after,
            "until": self.until,
            "versions": [
                {"version": one.number, "right": one.right, "asked": one.asked} for one in self.steps
            ],
            "schema": dict(self.schema._asdict()) if self.schema else None,
        }


def bisect(
    workspace: Workspace,
    suite: str,
    case_id: str,
    *,
    until: int | None = None,
    stored: bool = False,
    progress: Progress | None = None,
) -> Bisection:
    """Which version broke or mended a case on the way from the base to the champion, or to version `until`.

    The way is the line of parents: each version is one update away from the one before. Between a version
    that is right and one that is wrong, those without a result are asked this one case, by halving; what they
    say is not recorded. With `stored` nobody is asked.

    Raises:
        NotFoundError: there is no such suite or version.
        SuiteError: the suite has no such case, or its cases are not right or wrong.
        ModelError: there is no champion and no `until`, or that version has no weights.
        RenderingError: a version that must be asked was trained to read other bytes than are rendered today.
        ArtifactError: an artifact of a version that must be asked is missing or damaged.
    """
    found = registered_suite(workspace, suite)
    only = _only(found, case_id)
    line = _line(workspace, found.row.model_id, until)
    with workspace.registry.read() as reader:
        known = {
            one.number: one.score
            for one in reader.case_scores(found.row.model_id, found.row.suite_digest, case_id)
        }
    answers = [None if (score := known.get(one.number)) is None else score > RIGHT for one in line]
    asked: set[int] = set()

    def ask(at: int) -> bool:
        asked.add(at)
        return _ask(workspace, only, line[at], progress or Silent())

    place = search(answers, None if stored else ask)
    steps = tuple(
        Step(one.number, right, at in asked)
        for at, (one, right) in enumerate(zip(line, answers, strict=True))
    )
    return _told(workspace, Bisection(suite, case_id, steps), line, place)


class Place(NamedTuple):
    """The last place in a line that differs from its end, and the first one known after it that does not."""

    last_other: int
    first_same: int


def search(answers: list[bool | None], ask: Callable[[int], bool] | None) -> Place | None:
    """Where `answers` changed to what they are at the end; None where they are the same all along.

    Places with None are not known. `ask` is asked for the end and the beginning where they are needed, and
    for log2 of the places between; its answers are put into `answers`. Without it the two places of the
    result may have unknown ones between them.
    """

    def answer(at: int) -> bool | None:
        if answers[at] is None and ask is not None:
            answers[at] = ask(at)
        return answers[at]

    answer(len(answers) - 1)
    known = [at for at, right in enumerate(answers) if right is not None]
    if not known:
        return None
    end = answers[known[-1]]
    others = [at for at in known if answers[at] is not end]
    if not others and answer(0) in (None, end):
        return None
    low = others[-1] if others else 0
    high = next(at for at in known if at > low)
    while ask is not None and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if answer(middle) is end else (middle, high)
    return Place(low, high)


def _only(found: RegisteredSuite, case_id: str) -> Suite:
    """The suite with this one case."""
    suite = found.suite
    if not is_binary(suite.metric):
        raise SuiteError(
            f"suite `{suite.name}` is of kind `{suite.kind}`: its cases are not right or wrong",
            hint="`adaptman history diff A B` shows what moved between two versions",
        )
    cases = tuple(case for case in suite.cases if case.id == case_id)
    if not cases:
        raise SuiteError(
            f"suite `{suite.name}` has no case `{case_id}`",
            hint=f"`adaptman suite show {suite.name}` lists its cases",
        )
    return dataclasses.replace(suite, cases=cases)


def _line(workspace: Workspace, model_id: int, until: int | None) -> list[ModelVersion]:
    """From the base to the end, parent by parent; versions without weights have no children."""
    with workspace.registry.read() as reader:
        end = reader.champion(model_id) if until is None else reader.version(model_id, until)
        if end is None:
            raise ModelError("the model line has no champion", hint="name a version with `--until N`")
        engine.check_weights(end)
        by_id = {version.id: version for version in reader.versions(model_id)}
    line = [end]
    while (parent := line[-1].parent_id) is not None:
        line.append(by_id[parent])
    return line[::-1]


def _ask(workspace: Workspace, suite: Suite, version: ModelVersion, progress: Progress) -> bool:
    """Whether the version is right on the suite's one case."""
    check_rendering(workspace, version)
    fmt = engine.version_format(workspace, version)
    progress.start(f"v{version.number} on {suite.name}", 1)
    result = run_suite(
        suite,
        engine.answerer_of(engine.load_version(workspace, version), fmt),
        fmt,
        max_new_tokens=new_tokens(suite.kind),
        clock=time.monotonic,
        on_done=progress.advance,
    )
    progress.finish("right" if result.value > RIGHT else "wrong")
    return result.value > RIGHT


def _told(
    workspace: Workspace, found: Bisection, line: Sequence[ModelVersion], place: Place | None
) -> Bisection:
    if place is None:
        return found
    before, after = line[place.last_other], line[place.first_same]
    is_known = place.first_same == place.last_other + 1
    return dataclasses.replace(
        found,
        broke=found.steps[place.first_same].right is False,
        changed=after.number if is_known else None,
        after=before.number,
        until=after.number,
        schema=_schema(workspace, before, after) if is_known else None,
    )


def _schema(workspace: Workspace, before: ModelVersion, after: ModelVersion) -> SchemaChange | None:
    """None where the update was not one to another tool schema."""
    if after.tool_schema_id is None or after.tool_schema_id == before.tool_schema_id:
        return None
    with workspace.registry.read() as reader:
        row = reader.tool_schema_by_id(after.tool_schema_id)
    return SchemaChange(row.number, row.note, row.change_set)
