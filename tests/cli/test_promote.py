"""`adaptman promote` and `adaptman rollback`."""

from __future__ import annotations

import pytest

from adaptman.lifecycle import outbox
from adaptman.lifecycle.outbox import DeliveryReport
from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story


def champion(terminal: Terminal) -> int:
    number = terminal.json("history")["champion"]
    assert isinstance(number, int)
    return number


def test_a_version_that_passed(terminal: Terminal, begun: Story) -> None:
    begun.register()
    begun.train(2, parent=1, replay=True, note="")
    begun.judge(2, passed=True)
    assert terminal.ok("promote", "2") == "version 2 is champion, in place of version 1\n"
    assert champion(terminal) == 2


def test_a_refused_version_needs_a_waiver_with_a_reason(terminal: Terminal, begun: Story) -> None:
    begun.register()
    begun.train(2, parent=1, replay=False, note="")
    begun.judge(2, passed=False)
    assert terminal.run("promote", "2").exit_code == 3
    assert terminal.run("promote", "2", "--waive", " ").exit_code == 2
    assert champion(terminal) == 1
    assert terminal.ok("promote", "2", "--waive", "needed today") == (
        "version 2 is champion, in place of version 1 (waived)\n"
    )
    (move,) = terminal.json("version", "show", "2")["promotions"]
    assert move["waiver"] == "needed today"


def test_the_failed_reasons_come_first(terminal: Terminal, told: Story) -> None:
    reasons = [line for line in terminal.run("promote", "2").stderr.splitlines() if line.startswith("  ")]
    assert [line[2] for line in reasons] == ["✗", "✓", "✓"]


def test_a_version_without_a_decision(terminal: Terminal, begun: Story) -> None:
    begun.register()
    begun.train(2, parent=1, replay=True, note="")
    result = terminal.run("promote", "2")
    assert result.exit_code == 1
    assert "adaptman evaluate 2" in result.stderr


def test_a_decision_against_a_former_champion_is_stale(terminal: Terminal, begun: Story) -> None:
    begun.register()
    for number in (2, 3):
        begun.train(number, parent=1, replay=True, note="")
        begun.judge(number, passed=True)
    terminal.ok("promote", "2")
    result = terminal.run("promote", "3")
    assert result.exit_code == 1
    assert "judged against champion version `1`, but version `2` is champion now" in result.stderr
    assert champion(terminal) == 2


def test_a_version_that_is_not_there(terminal: Terminal, begun: Story) -> None:
    assert terminal.run("promote", "9").exit_code == 1
    assert terminal.run("promote", "0").exit_code == 2


def test_rollback_and_rollback_of_the_rollback(terminal: Terminal, told: Story) -> None:
    assert terminal.ok("rollback") == "version 4 is champion again, in place of version 3\n"
    assert terminal.ok("rollback") == "version 3 is champion again, in place of version 4\n"


def test_nothing_to_roll_back(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("rollback")
    assert result.exit_code == 1
    assert "has no former champion" in result.stderr


def test_delivery_starts_after_the_commit(
    terminal: Terminal, told: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(outbox, "start_delivery", lambda workspace: seen.append(champion(terminal)))
    terminal.ok("rollback")
    assert seen == [4]


def test_a_mirror_that_is_down_changes_nothing(
    terminal: Terminal, told: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = DeliveryReport(0, 27, "MLflow does not answer")
    monkeypatch.setattr(outbox, "deliver_pending", lambda workspace, wait_s: down)
    result = terminal.run("rollback", "--sync")
    assert (result.exit_code, champion(terminal)) == (0, 4)
    assert (
        "MLflow was not told yet: MLflow does not answer; `adaptman lineage sync` tries again"
        in result.stderr
    )
