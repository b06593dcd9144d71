"""A change set in lines of plain text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from adaptman.toolspec.changes import Change, ChangeClass, ChangeSet, ToolChange

_SIGNS = {"added": "+", "removed": "-", "renamed": "→", "changed": "~"}
_ORDER = (ChangeClass.BREAKING, ChangeClass.UNKNOWN, ChangeClass.MEANING, ChangeClass.HABIT)
_WIDEST = 32
_WIDTH = max(len(name) for name in _ORDER) + 1


def describe(changes: ChangeSet, *, limit: int | None = None) -> list[str]:
    """The changes, a line each, the breaking ones of a tool first; unchanged tools are only counted.

    With `limit` at most that many lines, the last of which says how many are left out.
    """
    told = [tool for tool in changes.tools if tool.status != "unchanged"]
    names = max((len(tool.name) for tool in told if tool.status != "renamed"), default=0)
    lines = [line for tool in told for line in _tool_lines(tool, min(names, _WIDEST))]
    lines.extend(_count(changes))
    if limit is not None and len(lines) > limit:
        kept = max(limit - 1, 0)
        return [*lines[:kept], f"… {len(lines) - kept} more lines"][:limit]
    return lines


def _count(changes: ChangeSet) -> Iterator[str]:
    unchanged = changes.counts["unchanged"]
    if unchanged == len(changes.tools):
        yield "no change" if unchanged else "no tools"
    elif unchanged:
        yield f"  {unchanged} unchanged"


def _title(tool: ToolChange) -> str:
    return f"{tool.old_name} → {tool.name}" if tool.status == "renamed" else tool.name


def _tool_lines(tool: ToolChange, width: int) -> Iterator[str]:
    head = f"{_SIGNS[tool.status]} {_title(tool)}"
    notes = [_line(change) for change in sorted(tool.changes, key=_rank) if _is_told(change)]
    indent = " " * (width + 5)
    if tool.status == "renamed":
        sure = "confirmed" if tool.likelihood == 1.0 else f"{tool.likelihood or 0.0:.2f} likely"
        yield f"{head}   breaking: renamed ({sure})"
    elif not notes or len(head) > width + 2:
        yield head
    else:
        yield head.ljust(len(indent)) + notes.pop(0)
    yield from (indent + note for note in notes)


def _rank(change: Change) -> int:
    return _ORDER.index(change.change_class) if change.change_class in _ORDER else len(_ORDER)


def _is_told(change: Change) -> bool:
    """A rename that a call shows is told beside the names."""
    renamed = change.kind == "tool-renamed" and change.change_class is ChangeClass.BREAKING
    return change.change_class is not ChangeClass.BYTES and not renamed


def _line(change: Change) -> str:
    return f"{str(change.change_class) + ':':<{_WIDTH}} {change.reason}"
