"""`adaptman evaluate` and `adaptman version export` at a terminal."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptman.lifecycle import evaluate
from tests.cli.conftest import Terminal
from tests.cli.tiny import LENIENT, line_at
from tests.lifecycle.tiny_line import TinyLine, tiny_lines


@pytest.fixture
def updated(terminal: Terminal) -> Iterator[TinyLine]:
    """A line after its first update, which the gate refused."""
    line = line_at(terminal, tiny_lines().updated)
    yield line
    line.workspace.close()


def test_what_the_gate_said(terminal: Terminal, updated: TinyLine) -> None:
    result = terminal.run("evaluate", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("version 2 is refused\n  ✗ ")


def test_a_lenient_policy(terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (terminal.folder / "policy.yaml").write_text(LENIENT)
    monkeypatch.setenv("ADAPTMAN_POLICY", "policy.yaml")
    told = terminal.ok("evaluate", "2")
    assert told.startswith("version 2 is passed\n  ✓ ")
    assert "\n  ! new-tools: the policy has no rule for kind target" in told
    assert told.endswith("\npromote it with `adaptman promote 2`\n")


def test_the_champion_is_shown_and_not_judged(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.ok("evaluate", "1")
    assert re.fullmatch(
        r"version 1 is champion\n  general: 0\.00 \(0\.00 … 0\.49, n 4\)\n  new-tools: .*, n 4\)\n"
        r"  new-tools, not always right: get_weather 0/4, of 1 tools\n",
        told,
    )
    assert terminal.json("evaluate", "1")["decision"] is None


def test_as_json(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.json("evaluate", "2")
    assert (told["version"], told["state"], told["decision"]["verdict"]) == (2, "refused", "refuse")
    assert told["results"][0]["n"] == 4
    tools = {result["suite_name"]: [one["tool"] for one in result["by_tool"]] for result in told["results"]}
    assert tools == {"general": [], "new-tools": ["get_weather"]}


def test_diagnosed(terminal: Terminal, updated: TinyLine) -> None:
    plain = terminal.ok("evaluate", "2")
    decided = terminal.json("evaluate", "2")["decision"]
    told = terminal.ok("evaluate", "2", "--diagnose")
    assert told.startswith(plain.rstrip("\n"))
    wrong, causes = re.findall(r"  new-tools, (\d) wrong calls, by what was wrong: (.*)\n", told)[0]
    assert sum(map(int, re.findall(r"\d", causes))) == int(wrong)
    again = terminal.json("evaluate", "2", "--diagnose")
    assert again["decision"] == decided
    (found,) = [one["diagnosis"] for one in again["results"] if "diagnosis" in one]
    assert len(found) == int(wrong)
    assert set(found.values()) <= {"form", "knowledge", "unknown"}
    cases = terminal.json("history", "diff", "1", "2")["suites"]
    shown = {case["case"]: case["b"].get("cause") for one in cases for case in one["broke"] + one["mended"]}
    assert {case: cause for case, cause in shown.items() if cause} == {
        case: cause for case, cause in found.items() if case in shown
    }
    assert terminal.ok("log", "--verify")


def test_nothing_to_diagnose_with(
    terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    result = terminal.run("evaluate", "2", "--diagnose")
    assert result.exit_code == 1
    assert "the package `llguidance`" in result.stderr
    assert "hint: install it with `pip install 'adaptman[diagnose]'`" in result.stderr


def test_ctrl_c(terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    updated.suite("irrelevance", "irrelevance")
    monkeypatch.setattr(evaluate, "_run", lambda *arguments, **options: signal.raise_signal(signal.SIGINT))
    result = terminal.run("evaluate", "2")
    assert result.exit_code == 130
    assert result.stderr.endswith("stopped; the same command goes on where it was\ninterrupted\n")


@pytest.mark.parametrize(
    ("number", "code", "told"), [("9", 1, "no version `9`"), ("0", 2, "0 is not in the range")]
)
def test_no_such_version(terminal: Terminal, updated: TinyLine, number: str, code: int, told: str) -> None:
    result = terminal.run("evaluate", number)
    assert (result.exit_code, told in result.stderr) == (code, True)


def test_no_suite(terminal: Terminal) -> None:
    line_at(terminal, tiny_lines().begun).workspace.close()
    result = terminal.run("evaluate", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no suite is registered")


def test_export(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.ok("version", "export", "2", "--to", "adapter")
    assert told == "version 2 is in adapter; load it with PeftModel.from_pretrained\n"
    assert Path("adapter/adapter_model.safetensors").is_file()
    told = terminal.ok("version", "export", "2", "--to", "whole", "--merged")
    assert told == "version 2 is in whole; load it with AutoModelForCausalLM.from_pretrained\n"
    assert Path("whole/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["2", "--to", "."], 1, "error: `.` exists already"),
        (["1", "--to", "out"], 1, "hint: export it whole with `--merged`"),
        (["9", "--to", "out"], 1, "error: no version `9`"),
        (["2"], 2, "Missing option '--to'"),
        (["2", "--to", "home/registry.db/out"], 1, "error: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_exported(
    terminal: Terminal, updated: TinyLine, words: list[str], code: int, told: str
) -> None:
    result = terminal.run("version", "export", *words)
    assert (result.exit_code, "Traceback" in result.output) == (code, False)
    assert told in result.stderr
    assert not Path("out").exists()


def test_a_policy_is_tried_on_recorded_decisions(terminal: Terminal, updated: TinyLine) -> None:
    (terminal.folder / "policy.yaml").write_text(LENIENT)
    result = terminal.run("policy", "test", "policy.yaml")
    assert (result.exit_code, result.stderr) == (0, "1 of 1 decisions would have been another one\n")
    assert re.search(r"refuse \(default\)  pass \* +general: ", result.stdout)
    assert terminal.json("policy", "test")["decisions"][0]["changed"] is False


def test_a_decision_in_words(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.ok("policy", "explain", "2")
    assert told.startswith("The gate refused version 2, compared with version 1 (")
    assert "\n✗ general (general, accuracy, 4 cases)\n  The champion has " in told
    assert terminal.json("policy", "explain", "2")["verdict"] == "refuse"
    result = terminal.run("policy", "explain", "1")
    assert (result.exit_code, "hint: run `adaptman evaluate 1`" in result.stderr) == (1, True)
