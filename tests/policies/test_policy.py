"""A policy is read strictly, and its digest is of what it says, not of how it is written."""

from __future__ import annotations

from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.errors import PolicyError
from policies.policy import (
    Policy,
    PolicyText,
    Rule,
    builtin,
    builtin_names,
    builtin_text,
    load_policy,
)
from policies.yamltext import MAX_CHARACTERS

SMALL = """
name: small
rules:
  general: {margin: 0.05, min_cases: 50}
overrides:
  trivia: {floor: 0.5}
"""

REWRITTEN = """
# a comment
overrides: {'trivia': {floor: 0.50}}
name: 'small'
rules:
  general:
    min_cases: 50
    margin: 5.0e-2
"""


def test_a_small_policy_is_read() -> None:
    policy = load_policy(SMALL, "small.yaml")
    assert policy.rules == {"general": Rule(margin=0.05, min_cases=50)}
    assert policy.correction == "none"
    assert policy.rule_for("other", "general") == Rule(margin=0.05, min_cases=50)
    assert policy.rule_for("trivia", "tools") == Rule(floor=0.5)
    assert policy.rule_for("other", "tools") is None
    assert Rule() == Rule(confidence=0.95, missing="refuse", min_cases=2)


def test_the_digest_is_of_the_content() -> None:
    digest = load_policy(SMALL, "small.yaml").digest
    assert load_policy(REWRITTEN, "again.yaml").digest == digest
    assert load_policy(SMALL.replace("0.05", "0.06"), "small.yaml").digest != digest
    assert len(digest) == 64


def test_a_suite_of_its_own_changes_what_it_says_of_its_kinds_rule() -> None:
    policy = load_policy(SMALL, "small.yaml")
    assert policy.rule_for("trivia", "general") == Rule(floor=0.5, margin=0.05, min_cases=50)
    taken = load_policy(SMALL.replace("{floor: 0.5}", "{margin: null, floor: 0.5}"), "small.yaml")
    assert taken.rule_for("trivia", "general") == Rule(floor=0.5, min_cases=50)
    assert taken.digest != policy.digest


def test_what_is_recorded_of_a_policy_is_the_policy() -> None:
    policy = load_policy(SMALL, "small.yaml")
    again = Policy.model_validate(policy.model_dump(mode="json"))
    assert again.digest == policy.digest
    assert again.rule_for("trivia", "general") == policy.rule_for("trivia", "general")


STRICTER = """
extends: default
name: stricter
rules:
  general: {margin: 0.02}
  tools: {missing: refuse, floor: 0.5}
  drift: {margin: null, floor: 0.3}
overrides:
  arithmetic: {min_cases: 400}
"""


def test_a_policy_extends_another_by_name() -> None:
    whole, above = load_policy(STRICTER, "stricter.yaml"), builtin()
    assert (whole.name, whole.description) == ("stricter", "")
    assert whole.rules["target"] == above.rules["target"]
    assert whole.rules["general"] == Rule(margin=0.02, min_cases=100)
    assert whole.rules["tools"] == Rule(margin=0.10, min_cases=20, floor=0.5)
    assert whole.rules["drift"] == Rule(floor=0.3, min_cases=20, missing="ignore")
    assert whole.rule_for("arithmetic", "general") == Rule(margin=0.02, min_cases=400)


def test_the_digest_is_of_the_whole() -> None:
    written_out = yaml.safe_dump(load_policy(STRICTER, "stricter.yaml").model_dump(mode="json"))
    assert load_policy(written_out, "whole.yaml").digest == load_policy(STRICTER, "stricter.yaml").digest


def test_a_policy_that_extends_nothing_that_is_there() -> None:
    with pytest.raises(PolicyError, match="no built-in policy `strict`"):
        load_policy(STRICTER.replace("default", "strict"), "stricter.yaml")
    with pytest.raises(PolicyError, match="`extends` is the name of one policy"):
        load_policy(STRICTER.replace("default", "[default]"), "stricter.yaml")


def test_a_policy_cannot_extend_itself() -> None:
    texts = {"a": "extends: b\nname: a\nrules: {}", "b": "extends: a\nname: b\nrules: {}"}
    with pytest.raises(PolicyError, match="cannot extend itself: `a` → `b` → `a`"):
        load_policy(texts["a"], "a", find=lambda name, origin: PolicyText(texts[name], name))


def test_the_builtin_policy() -> None:
    policy = builtin()
    assert builtin_names() == ("default",)
    assert policy == load_policy(builtin_text(), "default.yaml")
    assert (policy.name, policy.correction) == ("default", "none")
    required = {kind for kind, rule in policy.rules.items() if rule.missing == "refuse"}
    assert required == {"target", "general"}
    assert set(policy.rules) == {"target", "tools", "irrelevance", "format", "general", "drift", "custom"}
    assert policy.rules["target"] == Rule(floor=0.40, gain=0.05, min_cases=24)
    assert policy.rules["general"].margin == 0.08


@pytest.mark.parametrize("name", ["strict", "../default", ""])
def test_an_unknown_builtin_names_the_known(name: str) -> None:
    with pytest.raises(PolicyError, match="no built-in policy") as caught:
        builtin(name)
    assert caught.value.hint == "the built-in policies are `default`"
    assert caught.value.exit_code == 1


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "holds nothing where a policy", id="empty"),
        pytest.param("- a", "holds a list where", id="list"),
        pytest.param("policy", "holds text where", id="text"),
        pytest.param("5", "holds a single value where", id="number"),
        pytest.param("a: [", "line 1, is not valid YAML", id="cut off"),
        pytest.param("a: 1\n\tb: 2", "line 2, is not valid YAML", id="tab"),
        pytest.param(BOMB, "line 1, is not valid YAML: anchors and aliases (`a`) are not read", id="bomb"),
        pytest.param(
            "a: *b", "line 1, is not valid YAML: anchors and aliases (`b`) are not read", id="alias"
        ),
        pytest.param(
            "x: 1\nname: a\nname: b", "line 3, is not valid YAML: `name` stands twice", id="key twice"
        ),
        pytest.param("a: !!python/object:os.system x", "is not valid YAML: could not determine", id="tag"),
        pytest.param("a: 2020-99-99", "is not valid YAML", id="no date"),
        pytest.param("[a]: b", "is not valid YAML", id="a list as key"),
        pytest.param("a: \x00", "is not valid YAML", id="control character"),
        pytest.param("[" * 5000, "nested too deeply", id="deep"),
        pytest.param("a" * (MAX_CHARACTERS + 1), "at most 65536 are read", id="too large"),
        pytest.param("1: 2", "`1`", id="numeric key"),
        pytest.param("name: x", "`rules` is missing", id="no rules"),
        pytest.param("name: 1\nrules: {}", "`name`: input should be a valid string", id="numeric name"),
    ],
)
def test_what_is_no_policy_is_named(text: str, told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(text, "p.yaml")
    assert told in caught.value.message
    assert caught.value.message.startswith("`p.yaml`")


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{margin: -0.1}", "`rules.tools.margin`: input should be greater than or equal to 0 (found `-0.1`)"),
        ("{margin: '0.1'}", "`rules.tools.margin`: input should be a valid number"),
        ("{margin: .nan}", "`rules.tools.margin`: input should be a finite number"),
        ("{margin: yes}", "`rules.tools.margin`: input should be a valid number"),
        ("{min_cases: 1}", "`rules.tools.min_cases`: input should be greater than or equal to 2"),
        ("{min_cases: 2.5}", "`rules.tools.min_cases`"),
        ("{confidence: 1}", "`rules.tools.confidence`: input should be less than 1"),
        ("{confidence: 95}", "`rules.tools.confidence`"),
        ("{missing: no}", "`rules.tools.missing`: input should be 'refuse' or 'ignore' (found `False`)"),
        ("{foor: 0.5}", "`rules.tools.foor` is not a known key"),
        ("[]", "`rules.tools`"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(rule: str, told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(f"name: x\nrules:\n  tools: {rule}\n", "p.yaml")
    assert told in caught.value.message
    assert caught.value.hint


def test_an_unknown_kind_names_the_known() -> None:
    with pytest.raises(PolicyError, match=r"`rules\.tool`: input should be 'target', 'tools'"):
        load_policy("name: x\nrules: {tool: {}}", "p.yaml")


def test_many_errors_are_counted() -> None:
    with pytest.raises(PolicyError, match=r"\(and 2 more\)"):
        load_policy("name: x\nrules: {}\na: 1\nb: 1\nc: 1\nd: 1\ne: 1", "p.yaml")


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        builtin().name = "other"


@given(st.text())
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    with suppress(PolicyError):
        assert isinstance(load_policy(text, "p.yaml"), Policy)


def test_a_rule_on_capacity_that_nobody_changed_leaves_the_digest_as_it_was() -> None:
    plain = load_policy(SMALL, "small.yaml")
    said = load_policy(SMALL + "capacity: {saturated: refuse, missing: ignore}\n", "small.yaml")
    assert plain.capacity.saturated == "refuse"
    assert "capacity" not in plain.model_dump(mode="json")
    assert said.digest == plain.digest
    other = load_policy(SMALL + "capacity: {saturated: ignore}\n", "small.yaml")
    assert other.digest != plain.digest
    assert load_policy(yaml.safe_dump(other.model_dump(mode="json")), "again.yaml").digest == other.digest


def test_a_rule_on_capacity_is_read_strictly() -> None:
    with pytest.raises(PolicyError, match="capacity"):
        load_policy(SMALL + "capacity: {saturated: perhaps}\n", "small.yaml")
