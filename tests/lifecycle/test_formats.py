"""An update may change how calls are written: planned, recorded, judged by it, kept by the next update."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adaptman.errors import ToolDocumentError
from adaptman.evaluation.scorers import score_reply
from adaptman.evaluation.suites import SuiteKind, read_suite
from adaptman.lifecycle import engine
from adaptman.lifecycle.formats import find_format, show_format
from adaptman.lifecycle.plan import UpdatePlan, make_plan
from adaptman.lifecycle.promote import promote
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.suites import register_suite
from adaptman.lifecycle.update import run_update
from adaptman.toolspec.formats import OutputFormat, ToolCall
from registry.errors import AlreadyExistsError
from tests.lifecycle.story import document, suite_lines
from tests.lifecycle.tiny_line import CANDIDATE, Recorder, TinyLine, example, lines, tiny_lines

if TYPE_CHECKING:
    from adaptman.learning.answerer import ModelAnswerer
    from adaptman.learning.models import LoadedModel

SHORT = """\
name: short
version: 1
begin: "@"
end: "!"
call: "{name} {arguments}"
system_prompt: "{tools}"
"""


def plan_with(line: TinyLine, which: str | None, schema: int = 1, **recipe: str) -> UpdatePlan:
    """The plan of an update to the format `which`."""
    return make_plan(line.workspace, dataclasses.replace(line.request(schema, **recipe), output_format=which))


def own_file(line: TinyLine, text: str = SHORT) -> str:
    path = line.folder / "short.yaml"
    path.write_text(text)
    return str(path)


def test_a_first_update_changes_no_format(filled: TinyLine) -> None:
    plan = plan_with(filled, "pythonic")
    assert (plan.output_format.name, plan.format_before, plan.changes_format) == ("pythonic", None, False)
    assert plan.to_dict()["format_change"] is None
    assert plan_with(filled, None).output_format.name == "hermes"


def test_another_format_than_the_champions(updated: TinyLine) -> None:
    updated.second_tools()
    plan = plan_with(updated, "pythonic", 2)
    assert plan.changes_format
    assert plan.to_dict()["format_change"] == {"from": "hermes/1", "to": "pythonic/1"}
    assert (plan.written_now.name, plan.output_format.name) == ("hermes", "pythonic")
    assert plan.replayed_tools == ("send_mail",)
    assert plan.withheld_tools == ("get_weather", "search_flights")
    same = plan_with(updated, "hermes", 2)
    assert (same.changes_format, same.replayed_tools) == (False, ("send_mail",))


def test_an_own_format_stays_without_its_file(filled: TinyLine) -> None:
    path = own_file(filled)
    done = run_update(filled.workspace, plan_with(filled, path))
    promote(filled.workspace, done.version.number, waiver="to go on")
    Path(path).unlink()
    plan = plan_with(filled, None)
    assert (plan.output_format.name, plan.changes_format) == ("short", False)
    assert plan.output_format.digest == engine.version_format(filled.workspace, done.version).digest
    assert plan_with(filled, "hermes").to_dict()["format_change"] == {"from": "short/1", "to": "hermes/1"}


def test_an_own_format_that_changed_needs_a_new_version(filled: TinyLine) -> None:
    run_update(filled.workspace, plan_with(filled, own_file(filled)))
    changed = own_file(filled, SHORT.replace("{name} {arguments}", "{name}: {arguments}"))
    versions = len(filled.versions())
    with pytest.raises(AlreadyExistsError, match="`short` version `1` stands with digest"):
        run_update(filled.workspace, plan_with(filled, changed))
    assert len(filled.versions()) == versions
    newer = own_file(filled, SHORT.replace("version: 1", "version: 2"))
    assert run_update(filled.workspace, plan_with(filled, newer)).version.number == versions + 1


def test_a_tool_that_the_format_cannot_name(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().begun, tmp_path / "line")
    tools = [{"type": "function", "function": {"name": "get-weather", "parameters": {"type": "object"}}}]
    register_schema(line.workspace, document(tools), "tools.json")
    (line.folder / "examples.jsonl").write_text(lines([example("a", tools, "get-weather", {}, "Weather?")]))
    with pytest.raises(ToolDocumentError, match="`get-weather` cannot be written in the output format"):
        plan_with(line, "pythonic")
    assert plan_with(line, "hermes").output_format.name == "hermes"
    line.workspace.close()


def test_formats_by_name_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(SHORT)
    assert find_format("gemma").name == "gemma"
    assert show_format(str(path)).calls == (
        '@get_weather {"city": "Oslo", "days": 2}\nsend_mail {"to": ["ada\\u0040lab"], "urgent": true}!'
    )
    for which, told in (("short", "no output format `short`"), ("other.yaml", "cannot be read")):
        with pytest.raises(ToolDocumentError, match=told) as raised:
            find_format(which)
        assert raised.value.hint
    path.write_bytes(b"\xff")
    with pytest.raises(ToolDocumentError, match="not UTF-8"):
        find_format(str(path))


def test_from_hermes_to_another_format_to_an_own_one(
    filled: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each candidate is asked and read in its own format, and its champion in the champion's."""
    register_suite(
        filled.workspace, suite_lines("format"), name="form", kind=SuiteKind.FORMAT, origin="form.jsonl"
    )
    asked: list[tuple[str, str]] = []
    answerer_of = engine.answerer_of

    def seen(loaded: LoadedModel, fmt: OutputFormat) -> ModelAnswerer:
        asked.append((phases.phases[-1], fmt.name))
        return answerer_of(loaded, fmt)

    monkeypatch.setattr(engine, "answerer_of", seen)
    for number, which in enumerate(("hermes", "pythonic", own_file(filled)), CANDIDATE):
        phases = Recorder()
        done = run_update(filled.workspace, plan_with(filled, which), progress=phases)
        assert done.version.number == number
        assert done.evaluation is not None
        assert {result.suite_name for result in done.evaluation.results} >= {"form"}
        promote(filled.workspace, number, waiver="the tiny model cannot call")
    on_form = [(phase, name) for phase, name in asked if phase.endswith(" on form")]
    assert on_form == [
        ("v1 on form", "hermes"),
        ("v2 on form", "hermes"),
        ("v3 on form", "pythonic"),
        ("v4 on form", "short"),
    ]
    names = [engine.version_format(filled.workspace, version).name for version in filled.versions()]
    assert names == ["hermes", "hermes", "pythonic", "short"]


@pytest.mark.parametrize("which", ["hermes", "pythonic", "short"])
def test_a_format_suite_reads_the_format_it_is_given(which: str, tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SHORT)
    formats = {name: find_format(name) for name in ("hermes", "pythonic")}
    formats["short"] = find_format(str(tmp_path / "short.yaml"))
    suite = read_suite(suite_lines("format"), name="form", kind=SuiteKind.FORMAT, origin="form.jsonl")
    call = ToolCall("get_weather", {"city": "Oslo"})
    scores = {
        name: score_reply(SuiteKind.FORMAT, suite.cases[0], written.render([call]), formats[which]).value
        for name, written in formats.items()
    }
    assert scores == {name: float(name == which) for name in formats}
