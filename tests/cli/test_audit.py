"""`adaptman audit` at a terminal."""

from __future__ import annotations

import json

import pytest

from adaptman.learning import capacity
from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at, stopped_in_training
from tests.lifecycle.tiny_line import SMALL_LADDER, TinyLine, tiny_lines


@pytest.fixture
def line(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> TinyLine:
    monkeypatch.setattr(capacity, "QUICK", SMALL_LADDER)
    return line_at(terminal, tiny_lines().updated)


def test_what_it_says(terminal: Terminal, line: TinyLine) -> None:
    told = terminal.ok("audit", "2", "--quick").splitlines()
    assert told[0].startswith("version 2: ")
    assert any(verdict in told[0] for verdict in ("room (", "tight (", "saturated ("))
    assert told[2].split() == [
        "bindings", "bits", "offered", "bits", "taken", "in", "drift,", "nats", "per", "token",
    ]  # fmt: skip
    assert [row.split()[0] for row in told[3:5]] == ["2", "4"]
    assert {"loss under noise", "stable rank", "idle units"} <= {row.split("  ")[0] for row in told[6:]}
    assert max(map(len, told)) <= 100


def test_as_json_and_as_a_picture(terminal: Terminal, line: TinyLine) -> None:
    told = json.loads(terminal.ok("audit", "--quick", "--json", "--plot", "capacity.svg"))
    assert told["version"] == 1
    assert [rung["bindings"] for rung in told["rungs"]] == [2, 4]
    assert "bits taken in" in (terminal.folder / "capacity.svg").read_text()


def test_ctrl_c_says_how_to_go_on(
    terminal: Terminal, line: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in_training(terminal, monkeypatch, "audit", "2", "--quick")
    terminal.ok("audit", "2", "--quick")


def test_a_picture_that_cannot_be_drawn_costs_no_probe(terminal: Terminal, line: TinyLine) -> None:
    bad = {"capacity.doc": "no ending that can be drawn", "no/c.png": "there is no folder `no`"}
    for path, told in bad.items():
        said = terminal.run("audit", "--quick", "--plot", path)
        assert said.exit_code == 1
        assert told in said.stderr
    with line.workspace.registry.read() as reader:
        version = reader.version(line.workspace.model_row().id, 1)
        assert reader.latest_capacity_audit(version.id) is None


def test_an_update_of_a_saturated_version_ends_with_code_3(terminal: Terminal, line: TinyLine) -> None:
    def saturated(writer):  # type: ignore[no-untyped-def]
        version = writer.version(line.workspace.model_row().id, 1)
        room = {"room_bits": 40.0, "low": 0.0, "high": 90.0}
        writer.record_capacity_audit(
            version.id, verdict="saturated", **room, figures={}, report_digest="d" * 64
        )

    line.workspace.registry.write(saturated)
    said = terminal.run("update", "plan", "--schema", "1", "--examples", "examples.jsonl")
    assert said.exit_code == 3
    assert "version 1 is saturated (room for 40 bits, 0 to 90)" in said.stderr
    assert "hint: begin a model line from a larger base" in said.stderr  # it has no adapter to widen
