"""One error tree, drawn in its module's docstring; all three roots have the same shape."""

from __future__ import annotations

import ast
import re

import pytest

from adaptman import errors
from policies.errors import PolicyError
from registry.errors import RegistryError
from tests.architecture.source import modules

# Raised and caught within one room; no user meets them.
INTERNAL = {
    "CannotCheckError",
    "CannotMergeError",
    "NoToolError",
    "UnreadableError",
    "_NeedsError",
    "_RefusedError",
}
ROOTS = (errors.AdaptmanError, RegistryError, PolicyError)


def _classes() -> dict[str, type[errors.AdaptmanError]]:
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if value.__module__ == errors.__name__}


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"^ +(?:[│ ]*[├└]── )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert drawn == list(_classes())


def test_exit_codes() -> None:
    codes = {name: value.exit_code for name, value in _classes().items()}
    assert {name: code for name, code in codes.items() if code != 1} == {"GateRefusedError": 3}


@pytest.mark.parametrize("root", ROOTS)
def test_message_and_hint(root: type[errors.AdaptmanError]) -> None:
    error = root("no such thing `x`", hint="make one")
    assert (error.message, error.hint, error.exit_code, str(error)) == (
        "no such thing `x`",
        "make one",
        1,
        "no such thing `x`",
    )
    assert root("no hint").hint == ""


def test_no_error_grows_beside_the_tree() -> None:
    """Every exception in adaptman is defined in adaptman/errors.py or descends from one that is."""
    stray = [
        f"{module.name}:{node.lineno} {node.name}"
        for module in modules("adaptman")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and module.name != "adaptman/errors.py"
        and node.name not in INTERNAL
        and not node.name.startswith("_")
        if any(
            isinstance(base, ast.Name) and base.id in {"Exception", "BaseException"} for base in node.bases
        )
    ]
    assert stray == []
