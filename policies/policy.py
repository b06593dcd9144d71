"""A policy: what a candidate must show, suite by suite, before it may be promoted.

Written in YAML, validated strictly (unknown keys and quoted numbers are errors), and named by the digest of
its validated content, so that a decision says for ever by which rules it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.errors import PolicyError

Kind = Literal["target", "tools", "irrelevance", "format", "general", "drift", "custom"]

MAX_CHARACTERS = 64 * 1024

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
    content = _parse(text, origin)
    if not isinstance(content, dict):
        raise PolicyError(
            f"`{origin}` holds {_kind_of(content)} where a policy, a mapping, was expected",
            hint="start from `adaptman policy show default`",
        )
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise PolicyError(_told(error, origin), hint="start from `adaptman policy show default`") from None


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
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases, a few of which unfold into gigabytes, and without a key twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"anchors and aliases (`{event.anchor}`) are not read", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"`{key.value}` stands twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _parse(text: str, origin: str) -> object:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise PolicyError(f"`{origin}`{_place(error)} is not valid YAML: {_problem(error)}") from None
    except RecursionError:
        raise PolicyError(f"`{origin}` is nested too deeply") from None
    except ValueError as error:  # a date or a number that only looks like one
        raise PolicyError(f"`{origin}` is not valid YAML: {error}") from None


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}," if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)


def _kind_of(content: object) -> str:
    names = {type(None): "nothing", list: "a list", str: "text"}
    return names.get(type(content), "a single value")


def _told(error: ValidationError, origin: str) -> str:
    problems = list(_problems(error))
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return f"`{origin}` is not a valid policy: " + "; ".join(problems[:3]) + more


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] == "extra_forbidden":
            yield f"`{path}` is not a known key"
        elif problem["type"] == "missing":
            yield f"`{path}` is missing"
        else:
            message = problem["msg"]
            yield f"`{path}`: {message[:1].lower()}{message[1:]} (found `{problem['input']!r:.60}`)"
