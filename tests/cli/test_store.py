"""`adaptman store`, from the command line, and a workspace whose objects lie at a URL."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adaptman.config import load_settings
from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story
from tests.lifecycle.yard import Yard


@pytest.fixture
def yard(terminal: Terminal) -> Yard:
    made = Yard.copy(terminal.folder)
    made.train("refused", replay="samples", state="refused")
    made.told_everything()
    terminal.clock = made.clock
    return made


def test_verify_says_that_all_is_whole(terminal: Terminal, yard: Yard) -> None:
    result = terminal.run("store", "verify")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "all are whole" in result.stderr
    told = terminal.json("store", "verify")
    assert (told["ok"], told["faults"], told["store"]) == (True, [], "TMP/home/objects")


def test_verify_says_who_needs_what_is_missing(terminal: Terminal, yard: Yard) -> None:
    yard.workspace.store.path_of(yard.adapter(2)).unlink()
    result = terminal.run("store", "verify")
    assert result.exit_code == 1
    assert f"✗ object `{yard.adapter(2)}` is missing" in result.stdout
    assert "    adapter of version/default/2\n" in result.stdout
    assert "restore them from a backup" in result.stderr


def test_gc_prints_first_and_removes_when_asked(terminal: Terminal, yard: Yard) -> None:
    yard.clock.forward(days=30)
    plan = terminal.json("store", "gc")
    assert {one["rule"] for one in plan["removals"]} == {"refused"}
    assert plan["removable_bytes"] == sum(one["bytes"] for one in plan["removals"])
    result = terminal.run("store", "gc")
    assert result.stdout.splitlines()[0].split() == ["object", "size", "rule", "why"]
    assert "`adaptman store gc --delete` removes them" in result.stderr
    assert terminal.ok("store", "gc", "--delete").startswith("removed 3 objects, ")
    result = terminal.run("store", "gc")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to remove" in result.stderr
    assert terminal.json("store", "gc", "--delete")["removed_objects"] == 0
    result = terminal.run("promote", "2", "--waive", "now")
    assert result.exit_code == 1
    assert "were removed by gc on 2026-02-04" in result.stderr


def test_gc_goes_by_the_policy_that_is_set(
    terminal: Terminal, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = terminal.folder / "mine.yaml"
    mine.write_text(terminal.ok("store", "policy").replace("refused: 30", "refused: 300"))
    monkeypatch.setenv("ADAPTMAN_RETENTION", str(mine))
    yard.clock.forward(days=30)
    assert terminal.json("store", "gc")["removals"] == []
    assert terminal.json("store", "policy")["after_days"]["refused"] == 300
    mine.write_text("name: mine\nkeep: all\n")
    result = terminal.run("store", "gc", "--delete")
    assert result.exit_code == 1
    assert "`keep` is not a known key" in result.stderr
    monkeypatch.setenv("ADAPTMAN_RETENTION", "nowhere.yaml")
    assert "cannot be read" in terminal.run("store", "gc").stderr


def test_a_workspace_at_a_url(
    terminal: Terminal, begun: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All objects go to the URL, come back from it, and are verified and collected there."""
    place = f"memory://bucket-{os.getpid()}/{tmp_path.name}"
    monkeypatch.setenv("ADAPTMAN_OBJECTS", place)
    result = terminal.run("store", "verify")
    assert (result.exit_code, result.stdout.count("✗")) == (1, 1)
    assert f"is missing from `{place}`" in result.stdout
    document = tmp_path / "tools.json"
    tool = {"name": "ping", "parameters": {"type": "object"}}
    document.write_text(json.dumps([{"type": "function", "function": tool}]))
    terminal.ok("schema", "register", str(document))
    assert "ping" in terminal.ok("schema", "show", "1")
    for path in (terminal.home / "cache").glob("[0-9a-f][0-9a-f]/*"):
        path.unlink()
    assert "ping" in terminal.ok("schema", "show", "1")
    assert json.loads(terminal.run("store", "verify", "--json").stdout)["objects"] == 1
    terminal.clock.now = datetime.now(UTC) + timedelta(days=9)
    result = terminal.run("store", "gc", "--delete")
    assert result.exit_code == 1  # the base lies elsewhere
    assert "removes nothing until `adaptman store verify` finds nothing wrong" in result.stderr


def test_a_url_without_its_package(terminal: Terminal, begun: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTMAN_OBJECTS", "s3://ada:secret@bucket/prefix")
    result = terminal.run("store", "verify")
    assert result.exit_code == 1
    assert "pip install s3fs" in result.stderr
    assert "secret" not in result.output
    findings = {one["check"]: one for one in terminal_findings(terminal)}
    assert findings["store"]["status"] == "fail"
    assert "secret" not in findings["store"]["text"]


def terminal_findings(terminal: Terminal) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(terminal.run("doctor", "--json").stdout)
    return found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("s3://bucket/a%20b", "s3://bucket/a%20b"),
        ("file:///srv/a%20b", Path("/srv/a b")),
        ("/srv/objects", Path("/srv/objects")),
        ("objects", Path.cwd() / "objects"),
    ],
)
def test_the_setting_objects(given: str, found: Path | str) -> None:
    place = load_settings({"objects": given}).objects
    assert place == (Path.cwd() / "objects" if given == "objects" else found)
    assert load_settings({"objects": Path("/srv/objects")}).objects == Path("/srv/objects")
