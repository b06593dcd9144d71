"""What history says became of the versions, and which results it lets compare."""

from __future__ import annotations

import json

from adaptman.cli._output import jsonable
from adaptman.lifecycle.history import history
from adaptman.lifecycle.promote import promote, rollback
from tests.lifecycle.story import Story


def test_what_became_of_the_versions(told: Story) -> None:
    view = history(told.workspace)
    facts = [
        (one.number, one.state, one.was_champion, one.waiver is not None, one.rolled_back)
        for one in view.versions
    ]
    assert facts == [
        (1, "retired", True, False, False),
        (2, "refused", False, False, False),
        (3, "champion", True, False, False),
        (4, "retired", True, True, True),
    ]
    assert view.champion is not None
    assert view.champion.number == 3
    assert [one.parent for one in view.versions] == [None, 1, 1, 3]
    assert view.versions[3].waiver == "the mail tool is needed today"


def test_a_rollback_undone_is_a_rollback_of_the_other(told: Story) -> None:
    rollback(told.workspace)
    assert [one.number for one in history(told.workspace).versions if one.rolled_back] == [3]


def test_a_version_promoted_again_is_not_rolled_back(told: Story) -> None:
    told.train(5, parent=3, replay=True, note="")
    told.judge(5, passed=True)
    promote(told.workspace, 5)
    rollback(told.workspace)
    rollback(told.workspace)
    assert [one.number for one in history(told.workspace).versions if one.rolled_back] == [3, 4]


def test_suites_come_in_the_order_of_their_kinds(told: Story) -> None:
    assert [line.kind for line in history(told.workspace).lines] == [
        "target",
        "irrelevance",
        "general",
        "drift",
    ]


def test_a_changed_suite_starts_a_line(told: Story) -> None:
    told.suite("general", "general", salt=" changed")
    told.score(3, {"general": (0.5, 0.4, 0.6)})
    lines = [line for line in history(told.workspace).lines if line.suite == "general"]
    assert [line.label for line in lines] == ["general #1", "general #2"]
    assert [sorted(line.cells) for line in lines] == [[1, 2, 3, 4], [3]]
    assert lines[0].suite_digest != lines[1].suite_digest


def test_a_suite_that_went_back_goes_on_in_its_old_line(told: Story) -> None:
    told.suite("general", "general", salt=" changed")
    told.suite("general", "general")
    told.score(1, {"general": (0.8, 0.7, 0.9)})
    (line,) = (line for line in history(told.workspace).lines if line.suite == "general")
    assert (line.label, line.cells[1].value, line.cells[3].value) == ("general", 0.8, 0.83)


def test_the_newest_run_counts(told: Story) -> None:
    told.score(3, {"general": (0.5, 0.4, 0.6)})
    line = next(line for line in history(told.workspace).lines if line.suite == "general")
    assert (line.cells[3].value, line.cells[1].value) == (0.5, 0.84)


def test_json_has_every_result_once(told: Story) -> None:
    found = json.loads(json.dumps(jsonable(history(told.workspace).to_dict())))
    assert found["champion"] == 3
    assert sum(len(suite["results"]) for suite in found["suites"]) == 15
