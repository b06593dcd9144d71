"""Functions stay short and files readable in one sitting."""

from __future__ import annotations

import ast
import statistics

import pytest

from tests.architecture.source import PACKAGES, ROOT, modules

FILE_LIMIT = 500
MEDIAN_LIMIT = 10
P90_LIMIT = 35
FUNCTION_LIMIT = 80


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, its docstring left out."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        length -= (first.end_lineno or first.lineno) - first.lineno + 1
    return length


def _functions(package: str) -> dict[str, int]:
    return {
        f"{module.name}:{node.lineno} {node.name}": _lines(node)
        for module in modules(package)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("folder", [*PACKAGES, "migrations", "tests", "benchmarks"])
def test_no_file_is_too_long(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n >= FILE_LIMIT} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    lengths = list(_functions(package).values())
    assert statistics.median(lengths) < MEDIAN_LIMIT
    assert statistics.quantiles(lengths, n=10)[-1] < P90_LIMIT


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_very_long(package: str) -> None:
    assert {name: n for name, n in _functions(package).items() if n > FUNCTION_LIMIT} == {}
