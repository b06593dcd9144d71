"""What a plan says, and what it refuses before anything is done."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ExampleError, ToolDocumentError, TrainingError
from adaptman.evaluation.suites import SuiteKind
from adaptman.learning.recipe import LoraRecipe
from adaptman.lifecycle.plan import UpdatePlan, make_plan
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.suites import register_suite
from policies.errors import PolicyError
from registry.errors import NotFoundError
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, document
from tests.lifecycle.tiny_line import (
    FIRST_EXAMPLES,
    RECIPE,
    SECOND_EXAMPLES,
    TinyLine,
    declining,
    lines,
    tiny_lines,
)


def test_a_first_update(filled: TinyLine) -> None:
    plan = filled.plan()
    assert plan.changes.counts["added"] == 3
    assert (plan.replayed_tools, plan.withheld_tools) == ((), ())
    assert (plan.parent.number, plan.schema.number, len(plan.examples)) == (1, 1, 3)
    assert plan.examples_seen == 4 * 2
    assert [row.name for row in plan.suites] == ["general", "new-tools"]


def test_a_second_update_replays_what_stays_and_withholds_what_changes(updated: TinyLine) -> None:
    updated.second_tools()
    plan = updated.plan(2)
    assert plan.replayed_tools == ("send_mail",)
    assert plan.withheld_tools == ("get_weather", "search_flights")
    assert plan.changes.breaking
    assert (plan.changes.counts["renamed"], plan.changes.counts["changed"]) == (1, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora__rank": "8"}, "`lora.rank` is 8, and the adapter that goes on has 2"),
        ({"lora__alpha": "99"}, "`lora.alpha` is 99, and the adapter that goes on has 32"),
        (
            {"lora__targets": '["q_proj"]'},
            "`lora.targets` is q_proj, and .* has down_proj, q_proj",
        ),
        ({"adapter": "grow"}, "rank 2: it cannot be grown to 2"),
        ({"adapter": "grow", "lora__rank": "3"}, None),
        ({"adapter": "grow", "lora__rank": "4", "lora__alpha": "32"}, "`lora.alpha` is 32, .* has 64"),
        ({"adapter": "fresh", "lora__rank": "8", "lora__alpha": "99"}, None),
    ],
)
def test_an_adapter_that_goes_on_keeps_its_form(
    updated: TinyLine, settings: dict[str, str], message: str | None
) -> None:
    updated.second_tools()
    if message is None:
        assert updated.plan(2, **settings).recipe.lora.rank == int(settings["lora__rank"])
        return
    with pytest.raises(TrainingError, match=message):
        updated.plan(2, **settings)


def test_the_form_of_an_adapter_that_goes_on_is_put_on_record(updated: TinyLine) -> None:
    """Whatever a recipe has where nobody says otherwise."""
    updated.second_tools()
    request = updated.request(2)
    settings = {name: value for name, value in request.settings.items() if not name.startswith("lora.")}
    plan = make_plan(updated.workspace, dataclasses.replace(request, settings=settings))
    assert plan.recipe.lora == LoraRecipe(rank=2, alpha=32, targets=("down_proj", "q_proj"))
    wider = updated.plan(2, adapter="grow", lora__rank="4").recipe.lora
    assert (wider.rank, wider.alpha) == (4, 64)


@pytest.mark.parametrize(("count", "declined"), [(0, 0.0), (1, 1 / 3), (3, 1.0)])
def test_examples_that_decline_take_the_place_of_what_was_said(
    filled: TinyLine, count: int, declined: float
) -> None:
    some = [declining(one) if at < count else one for at, one in enumerate(FIRST_EXAMPLES)]
    (filled.folder / "examples.jsonl").write_text(lines(some))
    plan = filled.plan(replay__irrelevant="3")
    assert plan.declined == pytest.approx(declined)
    assert plan.replay.irrelevant == pytest.approx(3 * (1 - declined))
    assert (plan.replay.tools, plan.replay.samples) == (3.0, 4)
    assert plan.to_dict()["declined"] == pytest.approx(declined, abs=1e-4)


def test_examples_without_tools_or_with_an_answer_after_a_call_decline_nothing(filled: TinyLine) -> None:
    question, call = FIRST_EXAMPLES[0]["messages"]
    answer = {"role": "assistant", "content": "Sunny."}
    bare = {**FIRST_EXAMPLES[1], "messages": [question, answer], "tools": []}
    called = {**call, "tool_calls": [{**call["tool_calls"][0], "id": "1"}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "sunny"}
    told = {**FIRST_EXAMPLES[0], "messages": [question, called, result, answer]}
    (filled.folder / "examples.jsonl").write_text(lines([bare, told]))
    assert filled.plan().declined == 0


def test_a_target_suite_judges_its_own_update_only(updated: TinyLine) -> None:
    updated.second_tools()
    assert [row.name for row in updated.plan(2).suites] == ["general"]
    updated.suite("changed-tools", "target", salt=" now")
    assert [row.name for row in updated.plan(2).suites] == ["changed-tools", "general"]


def test_a_target_suite_from_before_any_tool_document_judges_every_update(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().begun, tmp_path / "line")
    line.suite("early", "target")
    line.fill_without_suites()
    plan = line.plan()
    line.workspace.close()
    assert [row.name for row in plan.suites] == ["early"]


def test_the_plan_as_plain_values(updated: TinyLine) -> None:
    updated.second_tools()
    told = json.loads(json.dumps(updated.plan(2).to_dict()))
    assert (told["model"], told["parent"], told["schema"], told["breaking"]) == ("default", 2, 2, True)
    assert told["replay"] == {
        "kind": "self",
        "samples": 4,
        "share": None,
        "under_tools": 1,
        "withheld_tools": ["get_weather", "search_flights"],
    }
    assert told["suites"] == [{"name": "general", "kind": "general", "cases": 4}]
    assert told["recipe"]["steps"] == 4


def test_a_plan_records_nothing(filled: TinyLine) -> None:
    def look() -> tuple[list[str], list[Path]]:
        return filled.events(), sorted(filled.workspace.settings.objects.rglob("*"))

    before = look()
    filled.plan()
    assert look() == before


def test_equal_requests_make_equal_recipes(filled: TinyLine) -> None:
    assert filled.plan().recipe.digest == filled.plan().recipe.digest
    assert filled.plan().recipe.digest != filled.plan(seed="1").recipe.digest


def leak(line: TinyLine, question: str, tools: list[dict[str, Any]]) -> UpdatePlan:
    """A plan beside a suite that asks `question`."""
    accept = [{"name": tools[0]["function"]["name"], "arguments": {}}]
    case = {"id": "c1", "messages": [{"role": "user", "content": question}], "tools": tools, "accept": accept}
    data = json.dumps(case).encode()
    register_suite(line.workspace, data, name="leaky", kind=SuiteKind.TOOLS, origin="leaky.jsonl")
    return line.plan()


@pytest.mark.parametrize("question", ["Weather in Rome?", "  weather in\nROME? "])
def test_an_example_that_a_suite_asks_is_refused(filled: TinyLine, question: str) -> None:
    told = "an example that suites also ask: `rome` is case `c1` of `leaky`"
    with pytest.raises(ExampleError, match=told) as raised:
        leak(filled, question, FIRST_TOOLS[:1])
    assert raised.value.hint


def test_another_question_and_other_tools_are_no_leak(filled: TinyLine) -> None:
    leak(filled, "Weather in Rome tomorrow?", FIRST_TOOLS[:1])
    leak(filled, "Weather in Rome?", FIRST_TOOLS[:2])


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"learning_rate": "1"}, "no setting is called `learning_rate`"),
        ({"replay.nothing": "1"}, "no setting is called `replay.nothing`"),
        ({"": "1"}, "no setting is called ``"),
        ({"steps": "many"}, "steps"),
        ({"replay.kind": "old"}, "old"),
        ({"steps": "0"}, "at least 1"),
    ],
)
def test_a_setting_that_there_is_not(filled: TinyLine, recipe: dict[str, str], told: str) -> None:
    request = dataclasses.replace(filled.request(), settings=RECIPE | recipe)
    with pytest.raises(TrainingError, match=told):
        make_plan(filled.workspace, request)


def test_an_output_format_that_there_is_not(filled: TinyLine) -> None:
    request = dataclasses.replace(filled.request(), output_format="morse")
    with pytest.raises(ToolDocumentError, match="morse") as raised:
        make_plan(filled.workspace, request)
    assert "hermes" in raised.value.hint


def test_a_schema_that_there_is_not(filled: TinyLine) -> None:
    with pytest.raises(NotFoundError, match="no tool schema `9`"):
        make_plan(filled.workspace, dataclasses.replace(filled.request(), schema=9))


def test_a_policy_that_cannot_be_read_is_told_before_the_training(filled: TinyLine, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("name: [")
    line = TinyLine.at(filled.folder, filled.clock, policy=str(tmp_path / "policy.yaml"))
    with pytest.raises(PolicyError, match=r"policy\.yaml"):
        line.plan()
    line.workspace.close()


@pytest.mark.parametrize("name", ["nowhere.jsonl", "."])
def test_examples_that_cannot_be_read(filled: TinyLine, name: str) -> None:
    request = dataclasses.replace(filled.request(), examples=filled.folder / name)
    with pytest.raises(ExampleError, match="cannot be read"):
        make_plan(filled.workspace, request)


def test_an_empty_example_set(filled: TinyLine) -> None:
    (filled.folder / "examples.jsonl").write_text("\n\n")
    with pytest.raises(ExampleError, match="holds no examples"):
        filled.plan()


def spoiled(function: dict[str, Any]) -> str:
    """The examples, the second one calling something else."""
    examples = json.loads(json.dumps(FIRST_EXAMPLES))
    examples[1]["messages"][1]["tool_calls"][0]["function"] = function
    return lines(examples)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ({"name": "get_wether", "arguments": "{}"}, "no tool `get_wether`; did you mean `get_weather`"),
        ({"name": "get_weather", "arguments": "{}"}, "city"),
        ({"name": "get_weather", "arguments": '{"city": 3}'}, r"arguments\.city`"),
        ({"name": "get_weather", "arguments": '{"city": "Oslo", "unit": "K"}'}, r"arguments\.unit`"),
        ({"name": "get_weather", "arguments": "{"}, "not JSON"),
    ],
)
def test_an_example_that_breaks_the_document(filled: TinyLine, function: dict[str, Any], told: str) -> None:
    path = filled.folder / "examples.jsonl"
    path.write_text(spoiled(function))
    with pytest.raises(ExampleError, match=rf"line 2, `messages\[1\]\.tool_calls\[0\].*{told}") as raised:
        filled.plan()
    assert raised.value.message.startswith(f"`{path}`, ")


def test_examples_written_for_the_tools_before(updated: TinyLine) -> None:
    updated.second_tools()
    (updated.folder / "examples-2.jsonl").write_text(lines(FIRST_EXAMPLES))
    with pytest.raises(ExampleError, match="other parameters than the tool document"):
        updated.plan(2)


def test_a_tool_that_is_taken_away_is_withheld(updated: TinyLine) -> None:
    updated.second_tools()
    register_schema(updated.workspace, document([SECOND_TOOLS[0]]), "tools-3.json")
    request = dataclasses.replace(updated.request(2), schema=3)
    (updated.folder / "examples-2.jsonl").write_text(lines(SECOND_EXAMPLES[:1]))
    plan = make_plan(updated.workspace, request)
    assert plan.withheld_tools == ("get_weather", "send_mail", "search_flights")
    assert plan.replayed_tools == ()
