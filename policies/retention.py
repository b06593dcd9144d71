"""Retention: which objects of a store may go, as a pure function from facts to a plan.

An object is kept when anything that is kept names it; a tree is kept or goes as a whole. What goes belongs to
a version that rests in a final state for long enough, or to nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.errors import PolicyError
from policies.policy import RETENTION
from policies.promotion import digest_of
from policies.yamltext import read_mapping, told

Resting = Literal["retired", "refused", "failed", "discarded"]
Days = Annotated[float, Field(ge=0, le=36_500)]


class Retention(BaseModel):
    """How long the weights and replay sets of versions that are not in use are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    former_champions: Annotated[int, Field(ge=1)] = 3
    """How many former champions of each line always keep theirs; the newest is what a rollback restores."""
    grace_days: Annotated[float, Field(ge=0.05, le=36_500)] = 2
    """Nothing that was put within so many days goes."""
    after_days: dict[Resting, Days] = Field(default_factory=dict)
    """By state: the days after which a version that rests in it loses them; other states keep them."""

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the validated policy's canonical JSON: formatting and comments do not count."""
        return digest_of(self.model_dump(mode="json"))


@dataclass(frozen=True)
class ObjectFacts:
    """An object in the store: how many bytes, and when it was last put."""

    digest: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class VersionFacts:
    """A version, and the objects that may go with it."""

    line: str
    number: int
    state: str
    resting_since: datetime
    """The last time that anything happened to it."""
    former: int | None
    """Its place among the former champions of its line, 0 for the newest; None if it never was champion."""
    needed: bool
    """Whether a version in training reads its weights."""
    objects: frozenset[str]
    """Digests of its adapter and its replay set."""


@dataclass(frozen=True)
class StoreFacts:
    """All that the plan depends on."""

    objects: Mapping[str, ObjectFacts]
    versions: tuple[VersionFacts, ...]
    named: frozenset[str]
    """Digests that are named by anything else, which is always kept."""
    parts: Mapping[str, frozenset[str]]
    """The objects of each tree, by the tree's digest."""
    collected: Mapping[str, datetime]
    """When each object was last recorded as removed."""


@dataclass(frozen=True)
class Removal:
    """An object that goes, and why. `recorded` where a run that died has recorded it already."""

    digest: str
    size: int
    rule: str
    reason: str
    recorded: bool


@dataclass(frozen=True)
class Plan:
    """What goes, by digest; `put_before` is what every object that goes is older than."""

    removals: tuple[Removal, ...]
    put_before: datetime
    objects: int
    size: int

    @property
    def removed_size(self) -> int:
        """Bytes of all that goes."""
        return sum(one.size for one in self.removals)


def plan(policy: Retention, facts: StoreFacts, now: datetime) -> Plan:
    """What may go now."""
    put_before = now - timedelta(days=policy.grace_days)
    resting: dict[str, tuple[str, str]] = {}
    kept = set(_with_parts(facts, facts.named))
    for version in facts.versions:
        why = _why_gone(policy, version, now)
        if why is None:
            kept.update(_with_parts(facts, version.objects))
            continue
        for root in sorted(version.objects):
            members = set(_with_parts(facts, [root]))
            if any(_is_new(facts, one, put_before) for one in members):
                kept.update(members)
            else:
                resting.update((one, (version.state, why)) for one in sorted(members))
    going = (one for digest, one in sorted(facts.objects.items()) if digest not in kept)
    removals = tuple(_removal(facts, one, resting) for one in going if one.modified < put_before)
    return Plan(removals, put_before, len(facts.objects), sum(one.size for one in facts.objects.values()))


def _why_gone(policy: Retention, version: VersionFacts, now: datetime) -> str | None:
    """Why nobody needs the version's weights; None where somebody may."""
    days = {str(state): days for state, days in policy.after_days.items()}.get(version.state)
    if days is None or version.needed:
        return None
    if version.former is not None and version.former < policy.former_champions:
        return None
    if now - version.resting_since < timedelta(days=days):
        return None
    return f"version {version.number} of `{version.line}` {version.state} for {days:g} days"


def _with_parts(facts: StoreFacts, digests: Iterable[str]) -> Iterator[str]:
    for digest in digests:
        yield digest
        yield from facts.parts.get(digest, ())


def _is_new(facts: StoreFacts, digest: str, put_before: datetime) -> bool:
    found = facts.objects.get(digest)
    return found is not None and found.modified >= put_before


def _removal(facts: StoreFacts, one: ObjectFacts, resting: Mapping[str, tuple[str, str]]) -> Removal:
    rule, reason = resting.get(one.digest, ("orphan", "named by nothing"))
    at = facts.collected.get(one.digest)
    return Removal(one.digest, one.size, rule, reason, recorded=at is not None and at >= one.modified)


def load_retention(text: str, origin: str) -> Retention:
    """Read a retention policy from YAML.

    Raises:
        PolicyError: too large, not YAML, not a mapping, or a field that is not valid; the message names
            `origin` and the path of the field.
    """
    content = read_mapping(text, origin, "retention policy", _HINT)
    try:
        return Retention.model_validate(content)
    except ValidationError as error:
        raise PolicyError(told(error, origin, "retention policy"), hint=_HINT) from None


_HINT = "start from `adaptman store policy`"


def builtin_retention_text() -> str:
    """The YAML of the retention policy that comes with the package, comments and all."""
    return (files("policies") / "builtin" / f"{RETENTION}.yaml").read_text(encoding="utf-8")
