"""Registering tool documents as a use case."""

from __future__ import annotations

import itertools
import threading

import pytest

from adaptman.errors import ArtifactError, ToolDocumentError, WorkspaceError
from adaptman.lifecycle.schema import compare_schemas, list_schemas, register_schema, registered_schema
from adaptman.lifecycle.workspace import Workspace
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, Story, document, tool


def test_the_first_document_adds_everything(begun: Story) -> None:
    done = register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    assert (done.row.number, done.previous, done.created) == (1, None, True)
    assert done.changes.counts["added"] == 3


def test_the_change_set_is_stored_and_computed_alike(begun: Story) -> None:
    register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    done = register_schema(begun.workspace, document(SECOND_TOOLS), "tools.json")
    assert done.previous == 1
    assert (
        done.changes
        == compare_schemas(begun.workspace, 1, 2).changes
        == compare_schemas(begun.workspace, 1).changes
    )
    assert done.row.change_set == done.changes.to_dict()


def test_what_was_registered_is_read_back(begun: Story) -> None:
    done = register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    assert registered_schema(begun.workspace).document.digest == done.document.digest
    assert registered_schema(begun.workspace, 1).document.as_openai() == FIRST_TOOLS


def test_the_newest_when_there_is_none(begun: Story) -> None:
    with pytest.raises(WorkspaceError, match="no tool document is registered yet"):
        registered_schema(begun.workspace)


def test_a_refused_document_leaves_nothing_behind(begun: Story) -> None:
    with pytest.raises(ToolDocumentError):
        register_schema(begun.workspace, b"[]", "tools.json")
    assert list_schemas(begun.workspace) == []


def test_a_rename_of_a_tool_that_is_not_there(begun: Story) -> None:
    register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    with pytest.raises(ToolDocumentError, match="`nobody`"):
        register_schema(
            begun.workspace, document(SECOND_TOOLS), "tools.json", renamed={"nobody": "find_flights"}
        )
    assert len(list_schemas(begun.workspace)) == 1


def test_a_damaged_predecessor_is_an_error(begun: Story) -> None:
    row = register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json").row
    begun.workspace.store.path_of(row.document_digest).unlink()
    with pytest.raises(ArtifactError):
        register_schema(begun.workspace, document(SECOND_TOOLS), "tools.json")


def test_each_change_set_starts_from_the_document_before_whoever_registers(begun: Story) -> None:
    def register(at: int) -> None:
        with Workspace.open(begun.workspace.settings) as workspace:
            register_schema(workspace, document([*FIRST_TOOLS, tool(f"tool_{at}", {})]), "tools.json")

    threads = [threading.Thread(target=register, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list_schemas(begun.workspace)
    assert [row.number for row in rows] == [1, 2, 3, 4]
    for before, after in itertools.pairwise(rows):
        assert (
            compare_schemas(begun.workspace, before.number, after.number).changes.to_dict()
            == after.change_set
        )


def test_renames_cannot_be_told_once_the_change_set_stands(begun: Story) -> None:
    register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    register_schema(begun.workspace, document(SECOND_TOOLS), "tools.json")
    with pytest.raises(ToolDocumentError, match="schema 2 holds this document already") as refused:
        register_schema(begun.workspace, document(SECOND_TOOLS), "tools.json", not_renamed=["search_flights"])
    assert "adaptman schema diff" in refused.value.hint


def test_what_was_told_of_renames_holds_in_later_comparisons(begun: Story) -> None:
    register_schema(begun.workspace, document(FIRST_TOOLS), "tools.json")
    done = register_schema(
        begun.workspace, document(SECOND_TOOLS), "tools.json", not_renamed=["search_flights"]
    )
    assert done.changes.counts["renamed"] == 0
    assert compare_schemas(begun.workspace, 1, 2).changes == done.changes
    otherwise = compare_schemas(begun.workspace, 1, 2, renamed={"search_flights": "find_flights"}).changes
    assert otherwise.counts["renamed"] == 1
