"""Renames, merges and splits of tools, and renames of parameters across a document."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.assignment import best_assignment
from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.likeness import words_of
from tests.toolspec.documents import by_name, closed, document, function, opened

TEXT = {"type": "string"}
CITY = closed({"city": TEXT}, "city")
MAIL = closed({"to": TEXT, "body": TEXT}, "to")

BEFORE = document(
    function("addNumbers", opened({"a": TEXT, "b": TEXT}), "Adds two numbers"),
    function("showVersion", {}, "Shows the version of the server"),
    function("getForecast", CITY, "Forecast of the weather for a city"),
    function("sendMail", MAIL, "Sends a mail to somebody"),
    function("listOrders", closed({"customer": TEXT}), "Lists the orders of a customer"),
)
AFTER = document(
    function("get-sum", opened({"a": TEXT, "b": TEXT}), "Returns the sum of two numbers"),
    function("get-version", {}, "Returns the version of the server"),
    function("get-forecast", CITY, "Forecast of the weather for a city."),
    function("send-mail", MAIL, "Sends a mail to somebody"),
    function("delete-invoice", closed({"number": {"type": "integer"}}), "Deletes one invoice for good"),
)


def test_many_renames_at_once_are_found_each() -> None:
    changes = diff(BEFORE, AFTER)
    found = {tool.name: tool.old_name for tool in changes.tools if tool.status == "renamed"}
    assert found == {
        "get-sum": "addNumbers",
        "get-version": "showVersion",
        "get-forecast": "getForecast",
        "send-mail": "sendMail",
    }
    assert changes.names("added") == ("delete-invoice",)
    assert changes.names("removed") == ("listOrders",)


def test_a_guess_is_told_with_its_likelihood_and_a_witness() -> None:
    tool = by_name(diff(BEFORE, AFTER), "get-forecast")
    assert tool.likelihood is not None
    assert 0.9 < tool.likelihood < 1
    head = tool.changes[0]
    assert (head.kind, head.change_class, head.to) == ("tool-renamed", ChangeClass.BREAKING, "get-forecast")
    assert head.witness == {"city": "text"}
    assert tool.breaking


def test_denied_renames_are_removals_and_additions() -> None:
    for denial in ("sendMail", "sendMail=send-mail"):
        changes = diff(BEFORE, AFTER, not_renamed=[denial])
        assert by_name(changes, "send-mail").status == "added"
        assert "sendMail" in changes.names("removed")


def test_confirmed_renames_are_certain() -> None:
    changes = diff(BEFORE, AFTER, renamed={"listOrders": "delete-invoice"})
    tool = by_name(changes, "delete-invoice")
    assert (tool.status, tool.old_name, tool.likelihood) == ("renamed", "listOrders", 1.0)
    assert {change.kind for change in tool.changes} >= {"tool-renamed", "parameter-removed"}


def test_two_names_may_be_exchanged() -> None:
    before = document(function("a", CITY), function("b", MAIL))
    after = document(function("a", MAIL), function("b", CITY))
    changes = diff(before, after, renamed={"a": "b", "b": "a"})
    assert [(tool.old_name, tool.name, len(tool.changes)) for tool in changes.tools] == [
        ("b", "a", 1),
        ("a", "b", 1),
    ]


def test_a_name_that_is_taken_over_is_a_removal_of_its_former_tool() -> None:
    before = document(function("a", CITY), function("b", MAIL))
    changes = diff(before, document(function("b", CITY)), renamed={"a": "b"})
    assert [(tool.status, tool.name) for tool in changes.tools] == [("renamed", "b"), ("removed", "b")]


@pytest.mark.parametrize(
    ("renamed", "not_renamed", "message"),
    [
        ({"nobody": "send-mail"}, (), "`nobody` cannot be renamed: the old document has no such tool"),
        ({"sendMail": "nobody"}, (), "`nobody` cannot be renamed: the new document has no such tool"),
        ({"sendMail": "get-sum", "listOrders": "get-sum"}, (), "two tools cannot be renamed to one"),
        ({}, ("nobody",), "`nobody` is not a tool of the old document"),
    ],
)
def test_names_that_are_not_there(
    renamed: dict[str, str], not_renamed: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ToolDocumentError, match=message):
        diff(BEFORE, AFTER, renamed=renamed, not_renamed=not_renamed)


def test_a_tool_that_is_still_there_was_not_renamed() -> None:
    both = document(function("a", CITY), function("b", CITY))
    with pytest.raises(ToolDocumentError, match="the new document still has it"):
        diff(document(function("a", CITY)), both, renamed={"a": "b"})


def _tabs() -> tuple[ToolDocument, ToolDocument]:
    other = [
        function(f"page_{verb}", CITY, f"{verb} the page") for verb in ("click", "scroll", "print", "save")
    ]
    apart = [
        function("page_tab_list", {}, "List the tabs"),
        function("page_tab_new", opened({"url": TEXT}), "Open a new tab"),
        function("page_tab_close", opened({"index": {"type": "integer"}}), "Close a tab"),
    ]
    action = {"enum": ["list", "new", "close"]}
    one = function("page_tabs", opened({"action": action, "index": {}}), "List, open or close tabs")
    return document(*other, *apart), document(*other, one)


def test_several_tools_that_became_one() -> None:
    apart, whole = _tabs()
    changes = diff(apart, whole)
    assert set(changes.names("removed")) == {"page_tab_list", "page_tab_new", "page_tab_close"}
    assert {tool.changes[0].kind for tool in changes.tools if tool.status == "removed"} == {"tool-merged"}
    assert by_name(changes, "page_tab_new").changes[0].to == "page_tabs"
    assert by_name(changes, "page_tabs").changes[0].kind == "merged-from"
    assert by_name(changes, "page_tabs").status == "added"


def test_one_tool_that_became_several() -> None:
    apart, whole = _tabs()
    changes = diff(whole, apart)
    (gone,) = [tool for tool in changes.tools if tool.status == "removed"]
    assert (gone.name, gone.changes[0].kind) == ("page_tabs", "tool-split")
    assert set(gone.changes[0].to.split(", ")) == {"page_tab_list", "page_tab_new", "page_tab_close"}
    assert by_name(changes, "page_tab_new").changes[0].kind == "split-from"


def test_unlike_tools_are_no_rename() -> None:
    before = document(function("listOrders", closed({"customer": TEXT}), "Lists the orders of a customer"))
    after = document(function("toggleLogging", {}, "Switches random logging on or off"))
    changes = diff(before, after)
    assert (changes.names("added"), changes.names("removed")) == (("toggleLogging",), ("listOrders",))


def test_a_parameter_that_is_renamed_everywhere_is_found_everywhere() -> None:
    words = "Exact reference of the element in the snapshot of the page"

    def tools(name: str, told: str) -> ToolDocument:
        plain = {name: {**TEXT, "description": told}}
        below = closed(
            {"fields": {"type": "array", "items": closed({name: {**TEXT, "description": told}}, name)}}
        )
        short = (
            {name: {**TEXT, "description": "Where"}}
            if name == "ref"
            else {name: {**TEXT, "description": told}}
        )
        return document(
            function("click", closed(plain, name)), function("fill", below), function("shot", closed(short))
        )

    changes = diff(tools("ref", words), tools("target", words + ", or a selector"))
    found = {
        (tool.name, c.path, c.to)
        for tool in changes.tools
        for c in tool.changes
        if c.kind == "parameter-renamed"
    }
    assert found == {
        ("click", "ref", "target"),
        ("fill", "fields[].ref", "fields[].target"),
        ("shot", "ref", "target"),
    }


def test_a_new_tool_beside_its_like_is_told() -> None:
    before = document(function("read_file", closed({"path": TEXT}, "path"), "Read the whole text of a file"))
    text = function("read_text_file", closed({"path": TEXT}, "path"), "Read the whole text of a file")
    changes = diff(before, document(before.as_openai()[0], text))
    (change,) = by_name(changes, "read_text_file").changes
    assert (change.kind, change.change_class) == ("purpose-overlaps", ChangeClass.MEANING)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("getHTTPResponse", {"get", "http", "response"}),
        ("get-tiny-image", {"get", "tiny", "image"}),
        ("list_orders2", {"list", "order", "2"}),
        ("math.factorial", {"math", "factorial"}),
        ("", set()),
    ],
)
def test_names_are_split_at_case_and_punctuation(name: str, words: set[str]) -> None:
    assert words_of(name) == words


@given(
    st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 9), min_size=columns, max_size=columns), min_size=1, max_size=4
        )
    )
)
def test_the_assignment_is_the_best_there_is(table: list[list[int]]) -> None:
    rows, columns = len(table), len(table[0])
    size = max(rows, columns)
    padded = [[table[r][c] if r < rows and c < columns else 0 for c in range(size)] for r in range(size)]
    best = max(sum(padded[r][c] for r, c in enumerate(order)) for order in permutations(range(size)))
    chosen = best_assignment(table)
    assert sum(table[r][c] for r, c in enumerate(chosen) if c is not None) == best
    taken = [c for c in chosen if c is not None]
    assert len(taken) == len(set(taken)) == min(rows, columns)
