"""A change set in lines of plain text for a terminal, and in Markdown for a pull request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from adaptman.toolspec.changes import Change, ChangeClass, ChangeSet, ToolChange
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.migration import CallMigration
from adaptman.toolspec.validate import shown, validate_call

_SIGNS = {"added": "+", "removed": "-", "renamed": "→", "changed": "~"}
_ORDER = (ChangeClass.BREAKING, ChangeClass.UNKNOWN, ChangeClass.MEANING, ChangeClass.HABIT)
_WIDEST = 32
_WIDTH = max(len(name) for name in _ORDER) + 1
_CALL = 66
_VALUE = 24
_WITNESSES = 3


class Documents(NamedTuple):
    """What a change set leads from and to: with these at hand breaking changes are shown by a call."""

    old: ToolDocument | None
    new: ToolDocument


class Shown(NamedTuple):
    """A call that was right, and what it is now: the call in the new form, or why it is refused."""

    before: str
    after: str
    refused: bool


def describe(
    changes: ChangeSet, *, limit: int | None = None, documents: Documents | None = None
) -> list[str]:
    """The changes, a line each: how many there are, then the tools, those that break calls first.

    With `documents` a breaking change is shown by a call. With `limit` at most that many lines, the last of
    which says how many are left out.
    """
    told = in_order(changes)
    names = max((len(tool.name) for tool in told if tool.status != "renamed"), default=0)
    lines = [line for line in [summary(changes)] if line]
    for tool in told:
        told_lines = _tool_lines(tool, min(names, _WIDEST), documents)
        # A value from a document may hold a line of its own, which must not look like one of ours.
        lines += [line.replace("\n", "\\n").replace("\t", "\\t") for line in told_lines]
    if limit is not None and len(lines) > limit:
        kept = max(limit - 1, 0)
        return [*lines[:kept], f"… {len(lines) - kept} more lines"][:limit]
    return lines


def in_order(changes: ChangeSet) -> list[ToolChange]:
    """The tools that changed, by their gravest change; within a class as the documents have them."""
    told = [tool for tool in changes.tools if tool.status != "unchanged"]
    return sorted(told, key=lambda tool: rank(gravest(tool)))


def gravest(tool: ToolChange) -> ChangeClass | None:
    """The class of a tool's gravest change; an added tool is a habit at least."""
    found = {change.change_class for change in tool.changes}
    if tool.status == "added":
        found.add(ChangeClass.HABIT)
    return min(found, key=rank, default=None)


def summary(changes: ChangeSet) -> str:
    """`3 breaking, 1 habit; 41 unchanged, 2 of them written otherwise`; empty for a first document."""
    counts = Counter(str(gravest(tool)) for tool in in_order(changes))
    still = [tool for tool in changes.tools if tool.status == "unchanged"]
    otherwise = sum(bool(tool.changes) for tool in still)
    if not counts:
        if not still:
            return "no tools"
        return "no change" + (f" of any call; {_tools(otherwise)} written otherwise" if otherwise else "")
    if len(changes.names("added")) == len(changes.tools):
        return ""
    told = ", ".join(f"{counts[name]} {name}" for name in map(str, _ORDER) if counts[name])
    rest = f"; {len(still)} unchanged" if still else ""
    return told + rest + (f", {otherwise} of them written otherwise" if otherwise else "")


def _tools(count: int) -> str:
    return "one tool is" if count == 1 else f"{count} tools are"


def _title(tool: ToolChange) -> str:
    return f"{tool.old_name} → {tool.name}" if tool.status == "renamed" else tool.name


def _tool_lines(tool: ToolChange, width: int, documents: Documents | None) -> Iterator[str]:
    head = f"{_SIGNS[tool.status]} {_title(tool)}"
    notes = [_line(change) for change in sorted(tool.changes, key=_rank_of) if _is_told(change)]
    indent = " " * (width + 5)
    if tool.status == "renamed":
        sure = "confirmed" if tool.likelihood == 1.0 else f"{tool.likelihood or 0.0:.2f} likely"
        yield f"{head}   breaking: renamed ({sure})"
    elif not notes or len(head) > width + 2:
        yield head
    else:
        yield head.ljust(len(indent)) + notes.pop(0)
    yield from (indent + note for note in notes)
    for one in witnesses(tool, documents):
        yield f"    was right  {one.before}"
        yield f"    {'refused' if one.refused else 'now'}    ".ljust(15) + one.after


def witnesses(tool: ToolChange, documents: Documents | None) -> list[Shown]:
    """A few calls that show the breaking changes of a tool which is still there."""
    if documents is None or documents.old is None or tool.status not in ("renamed", "changed"):
        return []
    migration = CallMigration(ChangeSet((tool,)), documents.new)
    found: dict[str, Shown] = {}
    for change in tool.changes:
        # That names which are not listed are refused needs no call to be understood.
        is_plain = change.kind == "additional-properties-closed"
        if change.change_class is ChangeClass.BREAKING and change.witness is not None and not is_plain:
            call = ToolCall(tool.old_name or tool.name, change.witness)
            found.setdefault(canonical_json(list(call)), _shown(call, tool, migration, documents.new))
    return list(found.values())[:_WITNESSES]


def _shown(call: ToolCall, tool: ToolChange, migration: CallMigration, new: ToolDocument) -> Shown:
    moved = migration.migrate(call)
    if moved.call is not None and moved.call != call:
        return Shown(_written(call), _written(moved.call), refused=False)
    problems = validate_call(new, ToolCall(tool.name, call.arguments))
    told = f"`{problems[0].path}` {problems[0].message}" if problems and problems[0].path else ""
    return Shown(_written(call), told or (problems[0].message if problems else moved.needs), refused=True)


def _written(call: ToolCall) -> str:
    """`name(city="Oslo", …)`, in one line."""
    parts: list[str] = []
    for name, value in call.arguments.items():
        part = f"{name}={shown(value, _VALUE)}"
        if sum(map(len, parts)) + len(part) + len(call.name) > _CALL:
            parts.append("…")
            break
        parts.append(part)
    return f"{call.name}({', '.join(parts)})"


def rank(one: ChangeClass | None) -> int:
    """How grave a class is, the gravest first; what could not be decided is never taken for safe."""
    return _ORDER.index(one) if one in _ORDER else len(_ORDER)


def _rank_of(change: Change) -> int:
    return rank(change.change_class)


def _is_told(change: Change) -> bool:
    """A rename that a call shows is told beside the names."""
    renamed = change.kind == "tool-renamed" and change.change_class is ChangeClass.BREAKING
    return change.change_class is not ChangeClass.BYTES and not renamed


def _line(change: Change) -> str:
    return f"{str(change.change_class) + ':':<{_WIDTH}} {change.reason}"


def markdown(changes: ChangeSet, *, title: str, documents: Documents | None = None) -> str:
    """The changes as a comment on a pull request (GitHub's Markdown); names and texts are made harmless."""
    lines = [
        f"### {_escaped(title)}",
        "",
        _escaped(summary(changes)) or f"{len(changes.tools)} tools added",
        "",
    ]
    for tool in in_order(changes):
        sure = "" if tool.likelihood in (None, 1.0) else f" ({tool.likelihood:.2f} likely)"
        lines.append(f"- **{tool.status}** {_code(_title(tool))}{sure}")
        lines += _notes(tool)
        for one in witnesses(tool, documents):
            sign = "✗" if one.refused else "+"
            lines += ["", *_block([f"- {one.before}", f"{sign} {one.after}"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _notes(tool: ToolChange) -> Iterator[str]:
    for change in sorted(tool.changes, key=_rank_of):
        if _is_told(change):
            yield f"  - {change.change_class}: {_escaped(change.reason)}"


def _block(lines: Sequence[str]) -> list[str]:
    """A code block inside of a list; its fence is longer than any in the text."""
    plain = [_visible(line) for line in lines]
    fence = max("```", *map(_fence, plain), key=len)
    return [f"  {fence}diff", *(f"  {line}" for line in plain), f"  {fence}"]


def _code(text: str) -> str:
    """A code span, whatever stands in it."""
    plain = _visible(text)
    fence = _fence(plain)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def _fence(text: str) -> str:
    """One backquote more than stand together in the text."""
    return "`" * (max(map(len, re.findall(r"`+", text)), default=0) + 1)


# A backquote beside another would open or close another span than it seems.
_CODED = re.compile(r"(?<!`)`[^`\n]+`(?!`)")


def _escaped(text: str) -> str:
    """A sentence, of which what stands in backquotes stays code and the rest says nothing to Markdown."""
    plain, parts, at = _visible(text)[:400], [], 0
    for span in _CODED.finditer(plain):
        parts += [_harmless(plain[at : span.start()]), span[0]]
        at = span.end()
    return "".join([*parts, _harmless(plain[at:])])


def _harmless(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~@!])", r"\\\1", text)


def _visible(text: str) -> str:
    """One line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
