"""Retention as a pure function, and the file that it is read from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import PolicyError
from policies.policy import builtin_names
from policies.retention import (
    ObjectFacts,
    Retention,
    StoreFacts,
    VersionFacts,
    builtin_retention_text,
    load_retention,
    plan,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = st.floats(0, 1000)
NAMES = st.sampled_from("abcdefgh")
STATES = ("training", "trained", "passed", "champion", "retired", "refused", "failed", "discarded")
ALWAYS = {"training", "trained", "evaluated", "passed", "champion"}


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@st.composite
def stores(draw: st.DrawFn) -> StoreFacts:
    versions = tuple(
        VersionFacts(
            line="default",
            number=number,
            state=draw(st.sampled_from(STATES)),
            resting_since=ago(draw(DAYS)),
            former=draw(st.none() | st.integers(0, 5)),
            needed=draw(st.booleans()),
            objects=draw(st.frozensets(NAMES, max_size=2)),
        )
        for number in range(1, draw(st.integers(1, 5)) + 1)
    )
    return StoreFacts(
        objects={name: ObjectFacts(name, 1, ago(draw(DAYS))) for name in draw(st.sets(NAMES))},
        versions=versions,
        named=draw(st.frozensets(NAMES, max_size=2)),
        parts=draw(st.dictionaries(NAMES, st.frozensets(NAMES, max_size=3), max_size=4)),
        collected={name: ago(draw(DAYS)) for name in draw(st.sets(NAMES, max_size=3))},
    )


POLICIES = st.builds(
    Retention,
    name=st.just("drawn"),
    former_champions=st.integers(1, 4),
    grace_days=st.floats(0.05, 30),
    after_days=st.dictionaries(st.sampled_from(["retired", "refused", "failed", "discarded"]), DAYS),
)


@given(policy=POLICIES, facts=stores())
def test_nothing_goes_that_anybody_needs(policy: Retention, facts: StoreFacts) -> None:
    made = plan(policy, facts, NOW)
    gone = {one.digest for one in made.removals}
    assert gone <= set(facts.objects)
    assert all(facts.objects[one].modified < ago(policy.grace_days) for one in gone)
    roots = set(facts.named)
    for version in facts.versions:
        safe = version.former is not None and version.former < policy.former_champions
        if version.state in ALWAYS or version.needed or safe:
            roots |= version.objects
    for root in roots:
        assert root not in gone
        assert not facts.parts.get(root, frozenset()) & gone
    assert made.removed_size == len(gone)
    assert [one.digest for one in made.removals] == sorted(gone)


@given(policy=POLICIES, facts=stores(), days=DAYS)
def test_what_may_go_now_may_go_later(policy: Retention, facts: StoreFacts, days: float) -> None:
    now = {one.digest for one in plan(policy, facts, NOW).removals}
    assert now <= {one.digest for one in plan(policy, facts, NOW + timedelta(days=days)).removals}


def one_version(**changes: object) -> StoreFacts:
    values: dict[str, object] = {
        "line": "default",
        "number": 7,
        "state": "refused",
        "resting_since": ago(31),
        "former": None,
        "needed": False,
        "objects": frozenset({"tree"}),
    }
    version = VersionFacts(**{**values, **changes})  # type: ignore[arg-type]
    objects = {name: ObjectFacts(name, 10, ago(31)) for name in ("tree", "file", "orphan")}
    return StoreFacts(objects, (version,), frozenset(), {"tree": frozenset({"file"})}, {"file": ago(30)})


def test_the_builtin_policy_on_a_refused_version() -> None:
    policy = load_retention(builtin_retention_text(), "retention.yaml")
    told = [
        (one.digest, one.rule, one.reason, one.recorded) for one in plan(policy, one_version(), NOW).removals
    ]
    why = "version 7 of `default` refused for 30 days"
    assert told == [
        ("file", "refused", why, True),
        ("orphan", "orphan", "named by nothing", False),
        ("tree", "refused", why, False),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "passed"},
        {"state": "retired", "former": 0},
        {"needed": True},
        {"resting_since": ago(29)},
        {"state": "evaluated"},
    ],
)
def test_the_builtin_policy_keeps(changes: dict[str, object]) -> None:
    policy = load_retention(builtin_retention_text(), "retention.yaml")
    assert {one.digest for one in plan(policy, one_version(**changes), NOW).removals} == {"orphan"}


def test_a_tree_of_which_a_file_is_new_stays_whole() -> None:
    facts = one_version()
    objects = {**facts.objects, "file": ObjectFacts("file", 10, ago(1))}
    facts = StoreFacts(objects, facts.versions, facts.named, facts.parts, facts.collected)
    policy = load_retention(builtin_retention_text(), "retention.yaml")
    assert {one.digest for one in plan(policy, facts, NOW).removals} == {"orphan"}


def test_it_is_no_promotion_policy() -> None:
    assert "retention" not in builtin_names()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds nothing"),
        ("- 1", "holds a list"),
        ("name: x\nformer_champions: 0", "`former_champions`"),
        ("name: x\nformer_champions: '3'", "`former_champions`"),
        ("name: x\ngrace_days: 0", "`grace_days`"),
        ("name: x\ngrace_days: .nan", "`grace_days`"),
        ("name: x\nafter_days: {champion: 3}", "`after_days.champion`"),
        ("name: x\nafter_days: {refused: -1}", "`after_days.refused`"),
        ("name: x\nafter_day: {}", "`after_day` is not a known key"),
        ("former_champions: 3", "`name` is missing"),
        ("name: x\nname: y", "stands twice"),
        ("name: &a x", "anchors and aliases"),
        ("{", "not valid YAML"),
        ("name: " + "x" * 70_000, "characters"),
    ],
)
def test_a_file_that_is_no_retention_policy(text: str, told: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_retention(text, "mine.yaml")
    assert told in caught.value.message
    assert "`mine.yaml`" in caught.value.message


def test_comments_do_not_change_the_digest() -> None:
    text = builtin_retention_text()
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert load_retention(text, "a").digest == load_retention(bare, "b").digest
    assert (
        load_retention(text.replace("refused: 30", "refused: 31"), "c").digest
        != load_retention(text, "a").digest
    )
