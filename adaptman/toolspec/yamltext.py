"""YAML as JSON could say it: no key twice, nothing that runs, no aliases that grow."""

from __future__ import annotations

from typing import Any

import yaml

from adaptman.errors import ToolDocumentError


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key stands twice, and dates stay texts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        twice = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"`{twice}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# A date that only looks like one is a text, as in JSON.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str, origin: str, *, hint: str) -> Any:
    """The content of a YAML text.

    Raises:
        ToolDocumentError: it is not YAML, or uses aliases; the message names `origin` and the line.
    """
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ToolDocumentError(f"`{origin}` uses YAML's aliases (`*name`)", hint="write it out")
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}," if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise ToolDocumentError(f"`{origin}`{place} is not valid YAML: {problem}", hint=hint) from None
    except RecursionError:
        raise ToolDocumentError(f"`{origin}` is nested too deeply", hint=hint) from None
    except (ValueError, TypeError) as error:  # a key that is a list
        raise ToolDocumentError(f"`{origin}` is not valid YAML: {error}", hint=hint) from None
