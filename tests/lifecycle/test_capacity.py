"""An audit of capacity is put on record, and an update is held to what the policy says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptman.errors import GateRefusedError
from adaptman.learning import capacity
from adaptman.lifecycle.capacity import CapacityReport, audit_capacity, report_dict
from adaptman.lifecycle.capacity_plot import plot_capacity
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.fold import fold_version
from adaptman.lifecycle.promote import promote
from registry.errors import NotFoundError
from registry.tables import ModelVersion
from registry.writer import Writer
from tests.lifecycle.tiny_line import SMALL_LADDER, Killed, Recorder, TinyLine


@pytest.fixture
def report(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> CapacityReport:
    monkeypatch.setattr(capacity, "QUICK", SMALL_LADDER)
    return audit_capacity(updated.workspace, 2, quick=True)


def test_the_result_is_recorded(updated: TinyLine, report: CapacityReport) -> None:
    assert report.version == 2
    told = json.loads(json.dumps(report_dict(report)))
    assert [one["bindings"] for one in told["rungs"]] == [2, 4]
    assert told["base_parameters"] > told["trainable_parameters"] > 0
    with updated.workspace.registry.read() as reader:
        version = reader.version(updated.workspace.model_row().id, 2)
        row = reader.latest_capacity_audit(version.id)
        (waiting,) = [one for one in reader.outbox_pending() if one.kind == "capacity.audited"]
    assert row is not None
    assert (row.verdict, row.room_bits) == (told["verdict"], told["room_bits"]["value"])
    stored = json.loads(updated.workspace.store.get_bytes(row.report_digest))
    assert stored["frontier"]["verdict"] == row.verdict
    assert set(waiting.payload["figures"]) == {
        "noise_rise", "rounding_rise", "stable_rank", "idle_units", "bits_2", "bits_4", "drift_2", "drift_4",
    }  # fmt: skip
    assert not list((updated.workspace.settings.home / "runs").glob("capacity-*"))


@pytest.mark.parametrize(
    ("phase", "left"),
    [("4 bindings", ["4 bindings", "noise and rounding"]), ("noise and rounding", ["noise and rounding"])],
)
def test_killed_it_goes_on_where_it_was(
    updated: TinyLine, report: CapacityReport, monkeypatch: pytest.MonkeyPatch, phase: str, left: list[str]
) -> None:
    monkeypatch.setattr(capacity, "QUICK", SMALL_LADDER)
    with pytest.raises(Killed):
        audit_capacity(updated.workspace, 2, quick=True, progress=Recorder(phase))
    assert updated.held_by() == []
    # Another version's has nothing to do with it.
    other = Recorder()
    audit_capacity(updated.workspace, 1, quick=True, progress=other)
    assert other.phases[:2] == ["samples of its own", "2 bindings"]
    recorder = Recorder()
    again = audit_capacity(updated.workspace, 2, quick=True, progress=recorder)
    assert recorder.phases == left
    assert again.frontier == report.frontier
    assert not list((updated.workspace.settings.home / "runs").glob("capacity-*"))


def test_the_champion_is_audited_and_it_tells_where_it_stands(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "QUICK", SMALL_LADDER)
    recorder = Recorder()
    assert audit_capacity(updated.workspace, quick=True, progress=recorder).version == 1
    assert recorder.phases == ["samples of its own", "2 bindings", "4 bindings", "noise and rounding"]
    with updated.workspace.registry.read() as reader:
        model = updated.workspace.model_row().id
        assert reader.latest_capacity_audit(reader.version(model, 1).id) is not None
        assert reader.latest_capacity_audit(reader.version(model, 2).id) is None


def test_a_version_that_there_is_not(updated: TinyLine) -> None:
    with pytest.raises(NotFoundError):
        audit_capacity(updated.workspace, 9)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_picture(report: CapacityReport, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"capacity.{ending}"
    plot_capacity(report.frontier, report.version, path)
    assert path.stat().st_size > 1_000
    if ending == "svg":
        assert "bits taken in" in path.read_text()
        assert f"v2: {report.frontier.verdict}" in path.read_text()


def say(line: TinyLine, number: int, verdict: str) -> None:
    """An audit of that version with that verdict."""

    def record(writer: Writer) -> None:
        version: ModelVersion = writer.version(line.workspace.model_row().id, number)
        writer.record_capacity_audit(
            version.id,
            verdict=verdict,
            room_bits=40.0,
            low=0.0,
            high=90.0,
            figures={},
            report_digest="d" * 64,
        )

    line.workspace.registry.write(record)


def with_policy(line: TinyLine, rule: str) -> TinyLine:
    path = line.folder / "policy.yaml"
    path.write_text(f"extends: default\nname: ours\ncapacity: {{{rule}}}\n")
    return TinyLine.at(line.folder, line.clock, policy=str(path))


def test_a_saturated_version_is_not_updated(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    with pytest.raises(GateRefusedError, match="version 2 is saturated") as caught:
        updated.plan(2)
    assert "adapter=grow" in caught.value.hint


def test_what_was_saturated_before_it_is_so_still(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 1, "saturated")
    with pytest.raises(GateRefusedError, match="version 1 is saturated"):
        updated.plan(2)
    say(updated, 2, "tight")
    assert updated.plan(2).parent.number == 2


def test_growing_the_adapter_is_a_way_out(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    assert updated.plan(2, **{"adapter": "grow", "lora.rank": "4"}).recipe.adapter == "grow"


def test_a_version_that_has_grown_is_asked_anew(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    grown = updated.update(2, adapter="grow", lora__rank="4").version.number
    promote(updated.workspace, grown, waiver="for the next update")
    assert updated.plan(2, lora__rank="4").parent.number == grown
    say(updated, grown, "saturated")
    with pytest.raises(GateRefusedError, match=f"version {grown} is saturated"):
        updated.plan(2, lora__rank="4")


def test_a_fresh_adapter_starts_from_the_checkpoint(updated: TinyLine) -> None:
    updated.second_tools()
    fresh = {"adapter": "fresh", "replay.kind": "none"}
    say(updated, 2, "saturated")
    assert updated.plan(2, **fresh).parent.number == 2
    asking = with_policy(updated, "missing: refuse")
    with pytest.raises(GateRefusedError, match="asks for an audit of version 1"):
        asking.plan(2, **fresh)
    say(updated, 1, "saturated")
    with pytest.raises(GateRefusedError, match="version 1 is saturated") as caught:
        asking.plan(2, **fresh)
    assert caught.value.hint == "begin a model line from a larger base"


def test_what_was_made_with_a_fresh_adapter_is_as_full_as_the_checkpoint(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    made = updated.update(2, adapter="fresh", replay__kind="none").version.number
    promote(updated.workspace, made, waiver="for the next update")
    assert updated.plan(2).parent.number == made
    say(updated, 1, "saturated")
    with pytest.raises(GateRefusedError, match="version 1 is saturated"):
        updated.plan(2)


def test_what_has_no_adapter_cannot_widen_it(filled: TinyLine) -> None:
    say(filled, 1, "saturated")
    with pytest.raises(GateRefusedError) as caught:
        filled.plan(1, adapter="grow", lora__rank="4")
    assert caught.value.hint == "begin a model line from a larger base"


def test_a_folded_version_is_asked_anew(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    folded = fold_version(updated.workspace).version.number
    evaluate(updated.workspace, folded)
    promote(updated.workspace, folded, waiver="for the second update")
    assert updated.plan(2).parent.number == folded
    say(updated, folded, "saturated")
    with pytest.raises(GateRefusedError, match=f"version {folded} is saturated"):
        updated.plan(2)


def test_the_newest_audit_counts(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    say(updated, 2, "room")
    assert updated.plan(2).parent.number == 2


def test_a_policy_may_not_mind(updated: TinyLine) -> None:
    updated.second_tools()
    say(updated, 2, "saturated")
    assert with_policy(updated, "saturated: ignore").plan(2).parent.number == 2


def test_a_policy_may_ask_for_an_audit(updated: TinyLine) -> None:
    updated.second_tools()
    asking = with_policy(updated, "missing: refuse")
    with pytest.raises(GateRefusedError, match="asks for an audit") as caught:
        asking.plan(2)
    assert "adaptman audit 2" in caught.value.hint
    say(updated, 2, "tight")
    assert asking.plan(2).parent.number == 2
