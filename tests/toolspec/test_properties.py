"""What holds for every pair of schemas: witnesses are true, safe verdicts are safe, equal is unchanged."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.diff import diff
from adaptman.toolspec.engine import is_valid
from adaptman.toolspec.samples import Sampler
from tests.toolspec.documents import one, parameter_schemas, schema_pairs, tool_of

GENEROUS = settings(suppress_health_check=list(HealthCheck))


@given(schema_pairs())
@GENEROUS
def test_each_breaking_change_has_a_witness_that_jsonschema_confirms(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    old, new = pair
    (tool,) = diff(one(old), one(new)).tools
    # Formats are assertions here; plain `jsonschema` confirms all that does not hang on one.
    validators = [Draft202012Validator(s, format_checker=Draft202012Validator.FORMAT_CHECKER) for s in pair]
    for change in tool.changes:
        assert (change.change_class is ChangeClass.BREAKING) == (change.witness is not None)
        if change.witness is not None:
            assert validators[0].is_valid(change.witness), change
            assert not validators[1].is_valid(change.witness), change


@given(schema_pairs())
@GENEROUS
def test_where_no_change_breaks_or_is_unknown_right_calls_stay_right(
    pair: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    old, new = (tool_of(schema) for schema in pair)
    (tool,) = diff(one(pair[0]), one(pair[1])).tools
    if any(c.change_class in (ChangeClass.BREAKING, ChangeClass.UNKNOWN) for c in tool.changes):
        return
    open_old = old.contract.schema.get("additionalProperties", {}) == {}
    for arguments in Sampler(old.contract).samples(old.contract.schema):
        if open_old and arguments.keys() - old.contract.schema.get("properties", {}).keys():
            continue  # names that no document ever told are nobody's right call
        assert is_valid(new.contract.rooted(new.contract.schema), arguments), (arguments, tool.changes)


@given(parameter_schemas)
@GENEROUS
def test_a_document_is_unchanged_against_itself(schema: dict[str, Any]) -> None:
    assert diff(one(schema), one(schema)).tools[0].changes == ()


@given(parameter_schemas)
@GENEROUS
def test_the_canonical_form_accepts_what_the_schema_accepts(schema: dict[str, Any]) -> None:
    tool = tool_of(schema)
    plain = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for arguments in Sampler(tool.contract).samples(tool.contract.schema):
        assert plain.is_valid(arguments)


@given(parameter_schemas)
@GENEROUS
def test_the_canonical_form_is_its_own_canonical_form(schema: dict[str, Any]) -> None:
    tool = tool_of(schema)
    again = tool_of(tool.contract.rooted(tool.contract.schema))
    assert again.contract == tool.contract


@given(schema_pairs())
@GENEROUS
def test_a_change_set_survives_json(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    changes = diff(one(pair[0]), one(pair[1]))
    assert ChangeSet.from_dict(changes.to_dict()) == changes


@given(parameter_schemas, st.randoms(use_true_random=False))
@GENEROUS
def test_the_order_of_keys_changes_no_digest(schema: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    again = shuffled(schema)
    assert one(again).digest == one(schema).digest
    (tool,) = diff(one(schema), one(again)).tools
    assert tool.status == "unchanged"
    assert all(change.change_class is ChangeClass.BYTES for change in tool.changes)
