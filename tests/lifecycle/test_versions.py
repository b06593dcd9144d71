"""Versions: a list, one in full, and the way back to the base."""

from __future__ import annotations

import pytest

from adaptman.lifecycle.versions import list_versions, version_details, version_lineage
from registry.errors import NotFoundError
from tests.lifecycle.story import Story


def test_the_list(told: Story) -> None:
    facts = [
        (line.row.number, line.parent, line.schema, line.adapter_bytes)
        for line in list_versions(told.workspace)
    ]
    assert facts == [(1, None, None, None), (2, 1, 1, 9_782_000), (3, 1, 1, 9_782_000), (4, 3, 2, 9_782_000)]


def test_a_base_version_names_nothing(begun: Story) -> None:
    details = version_details(begun.workspace, 1)
    named = (
        details.parent,
        details.schema,
        details.output_format,
        details.examples,
        details.replay,
        details.adapter,
    )
    assert named == (None,) * 6
    assert [move.cause for move in details.moves] == ["init"]


def test_a_version_without_replay(told: Story) -> None:
    details = version_details(told.workspace, 2)
    assert (details.replay, details.replay_teacher) == (None, None)
    assert details.to_dict()["replay"] is None


def test_the_newest_run_of_each_suite(told: Story) -> None:
    told.score(3, {"general": (0.5, 0.4, 0.6)})
    runs = version_details(told.workspace, 3).runs
    assert [(run.suite, run.run.value) for run in runs if run.suite == "general"] == [("general", 0.5)]
    assert len(runs) == 4


def test_lineage_goes_back_to_the_base(told: Story) -> None:
    found = version_lineage(told.workspace, 4)
    assert [one.row.number for one in found.chain] == [1, 3, 4]
    assert found.base_source == "smollm2-135m-instruct"
    told_json = found.to_dict()["chain"]
    assert [one["parent"] for one in told_json] == [None, 1, 3]
    assert [one["replay"] and one["replay"]["teacher"] for one in told_json] == [None, 1, 3]
    assert [one["decision"] and one["decision"]["verdict"] for one in told_json] == [None, "pass", "refuse"]
    assert [one["tool_schema"] and one["tool_schema"]["number"] for one in told_json] == [None, 1, 2]
    assert len({one["base_digest"] for one in told_json}) == 1


def test_a_version_that_is_not_there(begun: Story) -> None:
    for ask in (version_details, version_lineage):
        with pytest.raises(NotFoundError, match="no version `9`"):
            ask(begun.workspace, 9)
