"""Calls carried through a change set: re-written where that is sure, left to somebody where it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.migration import CallMigration, Mappings, MigratedCall, read_mappings
from adaptman.toolspec.samples import Sampler
from adaptman.toolspec.validate import validate_call
from tests.toolspec.documents import closed, document, function, one

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
CITY = {"type": "string", "description": "The city to look at"}


def migrate(
    old: ToolDocument, new: ToolDocument, arguments: dict[str, Any], mappings: Mappings | None = None
) -> MigratedCall:
    call = ToolCall(old.names[0], arguments)
    return CallMigration(diff(old, new), new, mappings).migrate(call)


def test_what_is_right_as_it_is_stays() -> None:
    same = one(closed({"city": CITY}, "city"))
    assert migrate(same, same, {"city": "Oslo"}) == MigratedCall(ToolCall("act", {"city": "Oslo"}))


def test_a_renamed_tool_and_parameter_keep_their_places() -> None:
    old = document(function("get_weather", closed({"town": CITY, "days": NUMBER}), "Weather of a city"))
    new = document(
        function("fetch_weather", closed({"town_name": CITY, "days": NUMBER}), "Weather of a city")
    )
    found = migrate(old, new, {"town": "Oslo", "days": 2})
    assert found.call == ToolCall("fetch_weather", {"town_name": "Oslo", "days": 2})
    assert list(found.call.arguments) == ["town_name", "days"]
    assert [step.kind for step in found.steps] == ["tool-renamed", "parameter-renamed"]


def test_a_parameter_below_another_and_in_a_list() -> None:
    inner = {"street_name": TEXT}
    old = one(closed({"homes": {"type": "array", "items": closed({"street": TEXT})}}))
    new = one(closed({"homes": {"type": "array", "items": closed(inner)}}))
    found = migrate(old, new, {"homes": [{"street": "a"}, {"street": "b"}]})
    assert found.call == ToolCall("act", {"homes": [{"street_name": "a"}, {"street_name": "b"}]})


def test_a_guess_that_is_not_sure_is_left_to_somebody() -> None:
    """Of the same type, without descriptions, and of another name: perhaps renamed, perhaps not."""
    old, new = one(closed({"alpha": TEXT}, "alpha")), one(closed({"omega": TEXT}, "omega"))
    found = migrate(old, new, {"alpha": "x"})
    assert found.call is None
    assert found.hint == "--renamed act.alpha=omega"
    confirmed = read_mappings((), (), {"act.alpha": "omega"}, new)
    assert migrate(old, new, {"alpha": "x"}, confirmed).call == ToolCall("act", {"omega": "x"})


def test_a_guess_that_the_call_does_not_touch_is_nobodys_business() -> None:
    old = one(closed({"alpha": TEXT, "stays": TEXT}))
    new = one(closed({"omega": TEXT, "stays": TEXT}))
    assert migrate(old, new, {"stays": "x"}).call == ToolCall("act", {"stays": "x"})


def test_a_value_that_is_gone_needs_a_mapping() -> None:
    old, new = (one(closed({"unit": {"enum": units}})) for units in (["C", "F", 1], ["C", 2]))
    left = migrate(old, new, {"unit": "F"})
    assert (left.call, left.hint) == (None, "--map act.unit:OLD=NEW")
    mapped = read_mappings(["act.unit:F=C", "act.unit:1=2"], (), {}, new)
    assert migrate(old, new, {"unit": "F"}, mapped).call == ToolCall("act", {"unit": "C"})
    assert migrate(old, new, {"unit": 1}, mapped).call == ToolCall("act", {"unit": 2})


@pytest.mark.parametrize(
    ("schema", "value", "assumed"),
    [
        ({"type": "string", "default": "cm"}, "cm", True),
        ({"const": 3}, 3, False),
        ({"enum": ["only"]}, "only", False),
    ],
)
def test_what_is_required_now_is_filled_in_where_the_schema_says_how(
    schema: dict[str, Any], value: Any, assumed: bool
) -> None:
    old, new = one(closed({"a": NUMBER})), one(closed({"a": NUMBER, "n": schema}, "n"))
    found = migrate(old, new, {"a": 1})
    assert found.call == ToolCall("act", {"a": 1, "n": value})
    assert [step.assumed for step in found.steps] == [assumed]


def test_what_is_required_now_and_nobody_knows() -> None:
    old, new = one(closed({"a": NUMBER})), one(closed({"a": NUMBER, "n": TEXT}, "n"))
    left = migrate(old, new, {"a": 1})
    assert (left.needs, left.hint) == ("`act`: `n` is required", "--fill act.n=VALUE")
    filled = migrate(old, new, {"a": 1}, read_mappings((), ["act.n=x"], {}, new))
    assert filled.call == ToolCall("act", {"a": 1, "n": "x"})
    assert not filled.steps[0].assumed


def test_one_value_becomes_a_list_of_it() -> None:
    old, new = one(closed({"path": TEXT})), one(closed({"path": {"type": "array", "items": TEXT}}))
    assert migrate(old, new, {"path": "a"}).call == ToolCall("act", {"path": ["a"]})


def test_what_is_dropped_is_not_dropped_in_silence() -> None:
    old, new = one(closed({"a": NUMBER, "old_thing": TEXT})), one(closed({"a": NUMBER}))
    assert "`old_thing` is not a parameter of the tool" in migrate(old, new, {"a": 1, "old_thing": "x"}).needs


def test_a_removed_tool_and_an_unknown_one() -> None:
    old = document(function("gone", closed({"a": NUMBER}), "Adds numbers"), function("stays", closed({})))
    new = document(function("stays", closed({})))
    migration = CallMigration(diff(old, new), new)
    assert "the tool is gone" in migration.migrate(ToolCall("gone", {"a": 1})).needs
    assert "stands in neither document" in migration.migrate(ToolCall("other", {})).needs
    assert migration.new_name("stays") == "stays"
    assert migration.new_name("gone") is None


@pytest.mark.parametrize(
    ("values", "fills", "renamed", "told", "hint"),
    [
        (["act.unit:C=K"], [], {}, '`act.unit` cannot be "K"', 'one of ["C","F"]'),
        (["act.unti:C=F"], [], {}, "`act` has no parameter `unti`", "did you mean `unit`?"),
        (["atc.unit:C=F"], [], {}, "names no tool", "did you mean `act`?"),
        (["act.unit"], [], {}, "no mapping of a value", "TOOL.PARAMETER:OLD=NEW"),
        ([], ["act.unit"], {}, "fills in nothing", "TOOL.PARAMETER=VALUE"),
        ([], ["act.unit=K"], {}, '`act.unit` cannot be "K"', 'one of ["C","F"]'),
        ([], [], {"act.alpha": "omega"}, "has no parameter `omega`", "it has `unit`"),
    ],
)
def test_mappings_that_lead_nowhere_are_refused(
    values: list[str], fills: list[str], renamed: dict[str, str], told: str, hint: str
) -> None:
    new = one(closed({"unit": {"enum": ["C", "F"]}}))
    with pytest.raises(ToolDocumentError, match=told.replace("[", r"\[")) as found:
        read_mappings(values, fills, renamed, new)
    assert hint in found.value.hint


def test_a_tools_name_may_hold_dots() -> None:
    new = document(function("math", closed({"gcd": NUMBER})), function("math.gcd", closed({"a": NUMBER})))
    found = read_mappings(["math.gcd.a:1=2"], ["math.gcd=3"], {}, new)
    assert found.values == {("math.gcd", "a"): {"1": 2}}
    assert found.fills == {("math", "gcd"): 3}


SCHEMAS = st.sampled_from(
    [TEXT, NUMBER, {"enum": ["a", "b"]}, {"enum": ["a"]}, {"type": "array", "items": TEXT}, CITY]
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["city", "town", "days", "unit", "unit_name"]), SCHEMAS, max_size=4
)


@given(PARAMETERS, PARAMETERS, st.data())
def test_whatever_is_re_written_is_right_and_stays_so(
    before: dict[str, Any], after: dict[str, Any], data: st.DataObject
) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(after)))) if after else set()
    old, new = one(closed(before)), one(closed(after, *sorted(needed)))
    migration = CallMigration(diff(old, new), new)
    for arguments in Sampler(old.tools[0].contract).samples(old.tools[0].contract.schema):
        found = migration.migrate(ToolCall("act", arguments))
        if found.call is None:
            assert found.needs
            continue
        assert not validate_call(new, found.call)
        again = CallMigration(diff(new, new), new).migrate(found.call)
        assert again == MigratedCall(found.call)
