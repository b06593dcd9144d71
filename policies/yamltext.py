"""YAML that somebody wrote: read strictly, and told where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from policies.errors import PolicyError


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


MAX_CHARACTERS = 64 * 1024


def read_mapping(text: str, origin: str, what: str, hint: str) -> dict[Any, Any]:
    """The mapping that the YAML of a `what` holds.

    Raises:
        PolicyError: too large, not YAML, an alias, a key twice, or not a mapping.
    """
    if len(text) > MAX_CHARACTERS:
        raise PolicyError(f"`{origin}` has {len(text)} characters, at most {MAX_CHARACTERS} are read")
    content = _parse(text, origin)
    if not isinstance(content, dict):
        found = f"`{origin}` holds {_kind_of(content)} where a {what}, a mapping, was expected"
        raise PolicyError(found, hint=hint)
    return content


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


def told(error: ValidationError, origin: str, what: str) -> str:
    """The first three problems of a file that should be a `what`, each with the path of its field."""
    problems = list(_problems(error))
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return f"`{origin}` is not a valid {what}: " + "; ".join(problems[:3]) + more


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
