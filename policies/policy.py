"""A policy: what a candidate must show, suite by suite, before it may be promoted.

Written in YAML, validated strictly (unknown keys and quoted numbers are errors), and named by the digest of
its validated content, so that a decision says for ever by which rules it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.errors import PolicyError
from policies.yamltext import kind_of, parse, told

Kind = Literal["target", "tools", "irrelevance", "format", "general", "drift"]

MAX_CHARACTERS = 64 * 1024
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


class Policy(BaseModel):
    """The rules by kind of suite, and by suite where one needs its own."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    correction: Literal["none", "holm"] = "none"
    """How the margins and gains of several suites are corrected for being several."""
    rules: dict[Kind, Rule]
    overrides: dict[str, Rule] = Field(default_factory=dict)
    """By suite name; replaces the rule of its kind as a whole."""

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the validated policy's canonical JSON: formatting and comments do not count."""
        text = json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def rule_for(self, suite_name: str, kind: str) -> Rule | None:
        """The rule a suite is held to: its own, else its kind's, else None."""
        by_kind: Mapping[str, Rule] = {str(name): rule for name, rule in self.rules.items()}
        return self.overrides.get(suite_name, by_kind.get(kind))


def load_policy(text: str, origin: str) -> Policy:
    """Read a policy from YAML.

    Raises:
        PolicyError: too large, not YAML, an alias, a key twice, not a mapping, or a field that is not valid;
            the message names `origin` and the path of the field.
    """
    if len(text) > MAX_CHARACTERS:
        raise PolicyError(f"`{origin}` has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    content = parse(text, origin)
    if not isinstance(content, dict):
        raise PolicyError(
            f"`{origin}` holds {kind_of(content)} where a policy, a mapping, was expected",
            hint="start from `adaptman policy show default`",
        )
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(
            told(error, origin, "policy"), hint="start from `adaptman policy show default`"
        ) from None


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
