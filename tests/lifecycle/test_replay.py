"""Replay from what earlier updates were made of, in a model line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptman.errors import TrainingError
from adaptman.learning.replay import ReplaySet
from adaptman.lifecycle.plan import make_plan
from adaptman.lifecycle.replay import _taught_by, _tool_prompts, earlier_examples
from adaptman.toolspec.formats import ToolCall, output_format
from adaptman.toolspec.validate import fits
from tests.lifecycle.tiny_line import CANDIDATE, FIRST_EXAMPLES, TinyLine, declining, lines, tiny_lines


@pytest.fixture
def second(tmp_path: Path) -> TinyLine:
    """Version 2 is champion, and the tools have changed."""
    line = TinyLine.copy(tiny_lines().updated, tmp_path)
    line.second_tools()
    return line


def test_examples_that_are_still_right_are_what_is_left(second: TinyLine) -> None:
    """Of the first update's three examples those of a tool that is as it was."""
    found = earlier_examples(second.workspace, second.plan(2))
    asked = {str(one.messages[0]["content"]) for one in found}
    assert asked == {"Write to Ada."} or asked < {"Weather in Rome?", "Oslo in kelvin?", "Write to Ada."}
    assert {one.update for one in found} <= {CANDIDATE}
    (one, *_) = found
    assert not one.accepts("I cannot do that.")
    call = second.plan(2).output_format.render([])
    assert not one.valid(call)


def test_exemplars_are_replayed(second: TinyLine) -> None:
    done = second.update(2, replay__kind="exemplar", replay__share="1.0", replay__loss="ce")
    replayed = done.version.replay_set_id
    assert replayed is not None
    with second.workspace.registry.read() as reader:
        row = reader.replay_set(replayed)
    assert row.report["by_source"] == {"exemplar": row.count}
    path = second.folder / "set"
    path.write_bytes(second.workspace.store.get_bytes(row.object_digest))
    assert len(ReplaySet.from_file(str(path)).samples) == row.count


@pytest.mark.parametrize("kind", ["opr", "ssr"])
def test_a_model_that_answers_nothing_rightly_has_nothing_to_replay(second: TinyLine, kind: str) -> None:
    with pytest.raises(TrainingError, match=r"none of the model's \d+ replies can be replayed"):
        second.update(2, replay__kind=kind)
    assert second.version(3).state == "failed"


def test_a_first_update_has_no_earlier_examples(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().filled, tmp_path)
    with pytest.raises(TrainingError, match="no earlier example is left to replay") as told:
        line.plan(1, replay__kind="exemplar")
    assert "replay.kind=self" in told.value.hint


def test_each_tool_belongs_to_the_update_that_taught_it(second: TinyLine) -> None:
    found = _taught_by(second.workspace, second.plan(2))
    assert set(found.values()) == {CANDIDATE}


def test_calls_under_earlier_tools_are_judged_by_the_new_document(second: TinyLine) -> None:
    (prompt,) = _tool_prompts(second.workspace, second.plan(2))
    assert prompt.accepts(ToolCall("send_mail", {"to": "ada@lab"}))
    assert not prompt.accepts(ToolCall("send_mail", {"who": "ada@lab"}))


def test_synthesized_replies_are_judged_in_the_new_format(second: TinyLine) -> None:
    """The model is asked in it, whatever it has written until now."""
    plan = make_plan(second.workspace, replace(second.request(2), output_format="pythonic"))
    (one, *_) = earlier_examples(second.workspace, plan)
    pythonic = output_format("pythonic")
    assert one.valid(pythonic.render([ToolCall("send_mail", {"to": "ada@lab"})]))
    assert not one.valid(pythonic.render([ToolCall("send_mail", {"who": "ada@lab"})]))
    other = ToolCall("find_flights", {"origin": "OSL", "destination": "FCO"})
    assert fits(plan.document, other)
    assert not one.valid(pythonic.render([other])), "a tool of the document that was not shown"


def test_tools_of_which_no_call_is_replayed_are_on_record(second: TinyLine) -> None:
    """A model of random weights never calls one."""
    done = second.update(2)
    assert done.version.replay_set_id is not None
    with second.workspace.registry.read() as reader:
        assert reader.replay_set(done.version.replay_set_id).report["tools"] == {"send_mail": 0}


def test_requests_that_no_tool_fits_are_replayed_from_the_first_update_on(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().filled, tmp_path)
    done = line.update(1, replay__free="0", replay__chat="0")
    assert done.version.replay_set_id is not None
    with line.workspace.registry.read() as reader:
        assert reader.replay_set(done.version.replay_set_id).report["by_source"] == {"irrelevant": 4}


def test_where_all_examples_decline_what_was_said_before_is_not_replayed(tmp_path: Path) -> None:
    """It would teach the old answer beside the new one."""
    line = TinyLine.copy(tiny_lines().filled, tmp_path)
    (line.folder / "examples.jsonl").write_text(lines([declining(one) for one in FIRST_EXAMPLES]))
    done = line.update(1)
    assert done.version.replay_set_id is not None
    with line.workspace.registry.read() as reader:
        assert reader.replay_set(done.version.replay_set_id).report["by_source"] == {"free": 2, "chat": 2}
    line.workspace.close()


def test_an_adapter_may_grow_and_begin_afresh(second: TinyLine) -> None:
    grown = second.update(2, adapter="grow", lora__rank="4").version
    assert grown.adapter_id is not None
    fresh = second.update(2, adapter="fresh", interpolate="0.5").version
    assert fresh.number == grown.number + 1
