"""Annotations as GitHub Actions reads them from a job's output (workflow commands)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptman.lifecycle.schema_check import SchemaCheck

_LEVELS = {"breaking": "error", "unknown": "error", "meaning": "warning", "habit": "notice"}


def annotation_lines(found: SchemaCheck) -> Iterator[str]:
    """One annotation for each tool that changed, at the level of its gravest change."""
    from adaptman.toolspec.describe import gravest

    for tool in found.changes.tools:
        worst = gravest(tool)
        if worst is None or str(worst) not in _LEVELS:
            continue
        told = [f"{change.change_class}: {change.reason}" for change in tool.changes] or [tool.status]
        title = _property(f"adaptman: {tool.name}")
        yield f"::{_LEVELS[str(worst)]} title={title}::{_data(chr(10).join(told))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
