"""A policy: what a candidate must show, suite by suite, before it may be promoted.

Written in YAML, validated strictly (unknown keys and quoted numbers are errors), and named by the digest of
its validated content, so that a decision says for ever by which rules it was made. A policy may extend
another: its file then holds only what differs, and its digest is that of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_serializer,
    model_serializer,
)

from policies.errors import PolicyError
from policies.promotion import PromotionRule, digest_of
from policies.yamltext import read_mapping, told

Kind = Literal["target", "tools", "irrelevance", "format", "general", "drift", "custom", "context"]

RETENTION = "retention"  # the built-in file that is not about promotion

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Rule(BaseModel):
    """What one suite must show. A condition that is None is not asked for."""

    model_config = _STRICT

    floor: float | None = None
    """The worst value the candidate itself may have; a ceiling where lower is better."""
    margin: Annotated[float, Field(ge=0)] | None = None
    """The worsening against the champion that must be ruled out, in the metric's own unit."""
    gain: Annotated[float, Field(ge=0)] | None = None
    """The improvement over the champion that is asked for; that there is one at all must be shown too."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of the two-sided interval; each one-sided statement errs with (1 − confidence) / 2."""
    min_cases: Annotated[int, Field(ge=2)] = 2
    """Fewer cases than this are no evidence; one case has no interval at all."""
    missing: Literal["refuse", "ignore"] = "refuse"
    """What follows where no result of the kind, or of the suite in `overrides`, is there."""


class CapacityRule(BaseModel):
    """What an audit of capacity must have said before an update is trained."""

    model_config = _STRICT

    saturated: Literal["refuse", "ignore"] = "refuse"
    """What follows where the version that the update starts from was found to be saturated."""
    missing: Literal["refuse", "ignore"] = "ignore"
    """What follows where neither it nor a version before it was audited."""


class Policy(BaseModel):
    """The rules by kind of suite, and by suite where one needs its own."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    correction: Literal["none", "holm"] = "none"
    """How the margins and gains of several suites are corrected for being several."""
    rules: dict[Kind, Rule]
    overrides: dict[str, Rule] = Field(default_factory=dict)
    """By suite name: what differs from the rule of its kind. `null` takes a condition away."""
    promotion: PromotionRule = Field(default_factory=PromotionRule)
    """Who must stand for the version when it is promoted."""
    capacity: CapacityRule = Field(default_factory=CapacityRule)
    """Whether an update may be trained at all."""

    @field_serializer("overrides")
    def _only_what_is_said(self, overrides: dict[str, Rule]) -> dict[str, Any]:
        return {name: rule.model_dump(mode="json", exclude_unset=True) for name, rule in overrides.items()}

    @model_serializer(mode="wrap")
    def _without_what_is_asked_of_all(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A rule that nobody changed is not told: policies keep the digests that they had before it was."""
        told: dict[str, Any] = plain(self)
        if self.capacity == CapacityRule():
            told.pop("capacity", None)
        return told

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the validated policy's canonical JSON: formatting and comments do not count."""
        return digest_of(self.model_dump(mode="json"))

    def rule_for(self, suite_name: str, kind: str) -> Rule | None:
        """The rule a suite is held to: its kind's, changed by its own; None where there is neither."""
        by_kind: Mapping[str, Rule] = {str(name): rule for name, rule in self.rules.items()}
        common, own = by_kind.get(kind), self.overrides.get(suite_name)
        if common is None or own is None:
            return own or common
        return common.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

    def without_gain(self) -> Policy:
        """The same policy for a candidate that has learned nothing new: no suite is asked for a gain."""

        def none_asked(rules: Mapping[Any, Rule]) -> dict[Any, Rule]:
            return {
                name: rule if rule.gain is None else rule.model_copy(update={"gain": None})
                for name, rule in rules.items()
            }

        own = {name: getattr(self, name) for name in Policy.model_fields}
        changes = {"rules": none_asked(self.rules), "overrides": none_asked(self.overrides)}
        return Policy.model_validate({**own, **changes})


class PolicyText(NamedTuple):
    """The YAML of a policy, and what messages call it."""

    text: str
    origin: str


Find = Callable[[str, str], PolicyText]
"""From what `extends` says, and the origin of the policy that says it, to the policy that is meant."""


def load_policy(text: str, origin: str, *, find: Find | None = None) -> Policy:
    """Read a policy from YAML. By default only a built-in policy can be extended.

    Raises:
        PolicyError: too large, not YAML, an alias, a key twice, not a mapping, a field that is not valid,
            or a policy that extends itself; the message names `origin` and the path of the field.
    """
    content = _whole(PolicyText(text, origin), find or _builtin, ())
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(told(error, origin, "policy"), hint=_START) from None


_START = "start from `adaptman policy show default`"


def _builtin(name: str, _origin: str) -> PolicyText:
    return PolicyText(builtin_text(name), f"{name}.yaml")


def _whole(source: PolicyText, find: Find, below: tuple[str, ...]) -> dict[Any, Any]:
    """The content of a policy, laid over that of the policy that it extends."""
    content = read_mapping(source.text, source.origin, "policy", _START)
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise PolicyError(f"`{source.origin}`: `extends` is the name of one policy", hint=_START)
    path = (*below, source.origin)
    found = find(parent, source.origin)
    if found.origin in path:
        chain = " → ".join(f"`{one}`" for one in (*path, found.origin))
        raise PolicyError(f"a policy cannot extend itself: {chain}", hint="take one `extends` out")
    above = _whole(found, find, path)
    return _laid_over(content, {key: value for key, value in above.items() if key not in _OWN})


_OWN = ("name", "description")  # a policy's own: it is another one than that which it extends


def _laid_over(upper: dict[Any, Any], lower: dict[Any, Any]) -> dict[Any, Any]:
    """Both mappings, the upper one's values first, mapping by mapping."""
    merged = {**lower, **upper}
    for key in upper.keys() & lower.keys():
        if isinstance(upper[key], dict) and isinstance(lower[key], dict):
            merged[key] = _laid_over(upper[key], lower[key])
    return merged


def builtin(name: str = "default") -> Policy:
    """A policy that comes with the package.

    Raises:
        PolicyError: there is none of this name.
    """
    return load_policy(builtin_text(name), f"{name}.yaml")


def builtin_text(name: str = "default") -> str:
    """The YAML of a policy that comes with the package, comments and all.

    Raises:
        PolicyError: there is none of this name.
    """
    if name not in builtin_names():
        known = ", ".join(f"`{known}`" for known in builtin_names())
        raise PolicyError(f"there is no built-in policy `{name}`", hint=f"the built-in policies are {known}")
    return (files("policies") / "builtin" / f"{name}.yaml").read_text(encoding="utf-8")


def builtin_names() -> tuple[str, ...]:
    """The names `builtin` knows, sorted."""
    found = (entry.name for entry in (files("policies") / "builtin").iterdir())
    names = {name.removesuffix(".yaml") for name in found if name.endswith(".yaml")}
    return tuple(sorted(names - {RETENTION}))
