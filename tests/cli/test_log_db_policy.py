"""`adaptman log`, `db` and `policy`."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from policies.policy import builtin, load_policy
from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story


def test_log_since_and_limit(terminal: Terminal, told: Story) -> None:
    events = terminal.json("log")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert terminal.json("log", "--since", "10", "--limit", "2") == events[10:12]


def test_log_since_a_time_and_a_duration(terminal: Terminal, told: Story) -> None:
    events = terminal.json("log")
    day = events[0]["at"][:10]
    assert terminal.json("log", "--since", day) == events
    later = [event for event in events if event["at"] >= events[20]["at"]]
    assert 0 < len(later) < len(events)
    assert terminal.json("log", "--since", events[20]["at"]) == later
    told.clock.forward(minutes=2)
    assert terminal.json("log", "--since", "119s") == []
    assert terminal.json("log", "--since", "2m") == events[-1:]
    assert terminal.json("log", "--since", "9999w") == events


@pytest.mark.parametrize("when", ["yesterday", "7x", "", "-1 ", "2026-13-01", "999999999w", "٣d"])
def test_log_since_something_else(terminal: Terminal, told: Story, when: str) -> None:
    result = terminal.run("log", "--since", when)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert "`7d`" in result.stderr


def test_log_json_holds_what_was_written(terminal: Terminal, told: Story) -> None:
    tables = [{change["table"] for change in event["changes"]} for event in terminal.json("log")]
    assert tables[:2] == [{"model"}, {"model_version"}]
    assert all(tables)


def test_log_verify(terminal: Terminal, told: Story) -> None:
    report = terminal.json("log", "--verify")
    assert (report["ok"], report["problems"], report["row_problems"]) == (True, [], [])
    assert report["events"] == len(terminal.json("log"))
    assert terminal.ok("log", "--verify") == (
        f"the chain holds: {report['events']} events, head {report['head']}\n"
        f"the rows are as the events tell: {report['rows']} rows\n"
    )


def test_log_verify_finds_an_edited_event(terminal: Terminal, told: Story) -> None:
    with sqlite3.connect(terminal.home / "registry.db") as database:
        database.execute("DROP TRIGGER event_no_update")
        database.execute("UPDATE event SET actor = 'mallory' WHERE seq = 7")
    result = terminal.run("log", "--verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("event 7: ")
    assert "the chain is broken" in result.stdout


def test_log_verify_finds_an_edited_row(terminal: Terminal, told: Story) -> None:
    with sqlite3.connect(terminal.home / "registry.db") as database:
        database.execute("UPDATE model_version SET note = 'mine' WHERE number = 2")
    result = terminal.run("log", "--verify")
    assert result.exit_code == 1
    said = 'row model_version/2: edited: row `2` of `model_version` has note `"mine"`, but event '
    assert result.stdout.startswith(said)
    assert "the chain holds" in result.stdout
    (problem,) = json.loads(terminal.run("log", "--verify", "--json").stdout)["row_problems"]
    assert (problem["table"], problem["key"], problem["column"]) == ("model_version", "2", "note")


def test_db_check_upgrade_and_downgrade(terminal: Terminal, begun: Story) -> None:
    begun.workspace.close()
    assert terminal.json("db", "check")["differences"] == []
    assert terminal.ok("db", "downgrade", "base", "--yes").endswith("→ none\n")
    result = terminal.run("db", "check")
    assert (result.exit_code, "adaptman db upgrade" in result.stderr) == (1, True)
    assert terminal.ok("db", "upgrade").startswith("revision none → ")
    assert terminal.run("db", "check").exit_code == 0


def test_db_downgrade_asks_first(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("db", "downgrade", "base", typed="n\n")
    assert result.exit_code == 1
    assert terminal.run("db", "check").exit_code == 0


def test_db_upgrade_makes_no_workspace_by_itself(terminal: Terminal) -> None:
    result = terminal.run("db", "upgrade")
    assert (result.exit_code, terminal.home.exists()) == (1, False)


def test_policy_show_prints_what_can_be_loaded(terminal: Terminal) -> None:
    assert load_policy(terminal.ok("policy", "show"), "shown") == builtin()
    assert terminal.json("policy", "show", "default")["digest"] == builtin().digest


def test_policy_from_settings(terminal: Terminal) -> None:
    text = terminal.ok("policy", "show").replace("name: default", "name: ours")
    Path("ours.yaml").write_text(text)
    Path("adaptman.toml").write_text('policy = "ours.yaml"\n')
    assert terminal.json("policy", "show")["name"] == "ours"
    assert terminal.json("policy", "check", "ours.yaml")["valid"] is True


def test_policy_check_names_the_field(terminal: Terminal) -> None:
    Path("ours.yaml").write_text("name: ours\nrules:\n  target: {flor: 0.4}\n")
    result = terminal.run("policy", "check", "ours.yaml")
    assert result.exit_code == 1
    assert "`rules.target.flor`" in result.stderr


def test_policy_that_is_not_there(terminal: Terminal) -> None:
    for words in (["show", "nothing"], ["show", "./nothing.yaml"], ["check", "nothing.yaml"]):
        result = terminal.run("policy", *words)
        assert (result.exit_code, "Traceback" in result.output) == (1, False)
        assert "hint: " in result.stderr
