"""Output formats by name or by file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ToolDocumentError
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.formats import (
    BUILTIN,
    OutputFormat,
    ToolCall,
    output_format,
    own_from_text,
    recorded_format,
)

if TYPE_CHECKING:
    from registry.tables import OutputFormatRow

_LARGEST = 1 << 20
"""Bytes that are read of a format's file; far more than `own_from_text` accepts."""

_CALLS = (
    ToolCall("get_weather", {"city": "Oslo", "days": 2}),
    ToolCall("send_mail", {"to": ["ada@lab"], "urgent": True}),
)
_TOOL = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def find_format(which: str, workspace: Workspace | None = None) -> OutputFormat:
    """The format in a file (a path, or a name ending in .yaml or .yml), the built-in one of that name, or the
    one that is registered: its newest version, or another as `NAME@VERSION`.

    Raises:
        ToolDocumentError: there is none of that name, or the file cannot be read or is no format.
    """
    if "/" in which or "\\" in which or which.endswith((".yaml", ".yml")):
        return own_from_text(_text(Path(which)), which)
    name, _, version = which.partition("@")
    rows = [row for row in _rows(workspace) if row.name == name and version in ("", str(row.version))]
    if rows and (version or name not in BUILTIN):
        row = rows[-1]
        return recorded_format(row.name, row.version, row.spec, row.digest)
    if version:
        raise ToolDocumentError(
            f"there is no output format `{name}` of version {version} on record",
            hint="`adaptman format list` shows those that there are",
        )
    return output_format(which)


def _rows(workspace: Workspace | None) -> list[OutputFormatRow]:
    if workspace is None:
        return []
    with workspace.registry.read() as reader:
        return reader.output_formats()


def named(one: OutputFormat) -> dict[str, Any]:
    """Which format it is, as plain JSON values."""
    return {"name": one.name, "version": one.version, "digest": one.digest}


class ListedFormat(NamedTuple):
    """A format that can be asked for by its name."""

    name: str
    version: int
    digest: str
    builtin: bool
    versions: tuple[int, ...]
    """Versions of the model line that were taught it."""


def list_formats(workspace: Workspace | None) -> list[ListedFormat]:
    """The built-in formats, then the registered ones; without a workspace only the first."""
    rows = {(row.name, row.version): row for row in _rows(workspace)}
    taught = _taught(workspace)
    found = []
    for one in BUILTIN.values():
        row = rows.pop((one.name, one.version), None)
        found.append(
            ListedFormat(one.name, one.version, one.digest, True, taught.get(row.id if row else 0, ()))
        )
    return found + [
        ListedFormat(row.name, row.version, row.digest, False, taught.get(row.id, ()))
        for row in rows.values()
    ]


def _taught(workspace: Workspace | None) -> dict[int, tuple[int, ...]]:
    """The numbers of the versions by the id of their format."""
    if workspace is None:
        return {}
    model = workspace.model_row()
    found: dict[int, tuple[int, ...]] = {}
    with workspace.registry.read() as reader:
        for version in reader.versions(model.id):
            if version.output_format_id is not None:
                known = found.get(version.output_format_id, ())
                found[version.output_format_id] = (*known, version.number)
    return found


class FormatRegistration(NamedTuple):
    """A format that stands on record. `created` is False where it stood there before."""

    format: OutputFormat
    created: bool


def register_format(workspace: Workspace, file: Path) -> FormatRegistration:
    """Put the own format in `file` (YAML) on record, so that updates find it by its name.

    Raises:
        ToolDocumentError: the file cannot be read or is no format, or that version stands as another one.
    """
    from registry.errors import AlreadyExistsError

    made = own_from_text(_text(file), str(file))
    before = {(row.name, row.version) for row in _rows(workspace)}
    try:
        workspace.registry.write(
            lambda writer: writer.add_output_format(made.name, made.version, made.spec(), made.digest)
        )
    except AlreadyExistsError:
        raise ToolDocumentError(
            f"`{made.name}` version {made.version} is on record already, and writes calls otherwise",
            hint=f"raise its `version`, to {made.version + 1} say: what a model was taught stays as it is",
        ) from None
    return FormatRegistration(made, (made.name, made.version) not in before)


class WrittenCall(NamedTuple):
    """The same calls in both formats, and whether the new one reads what the old one wrote."""

    what: str
    before: str
    after: str
    read: bool

    @property
    def same(self) -> bool:
        """Whether nothing changes for the model."""
        return self.before == self.after


@dataclass(frozen=True)
class FormatDiff:
    """Two formats side by side."""

    before: OutputFormat
    after: OutputFormat
    calls: tuple[WrittenCall, ...]
    prompts: tuple[str, str]

    @property
    def breaking(self) -> bool:
        """Whether a model that writes as before is not understood."""
        return not all(one.read for one in self.calls)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "before": named(self.before),
            "after": named(self.after),
            "breaking": self.breaking,
            "calls": [{**one._asdict(), "same": one.same} for one in self.calls],
            "system_prompt": {
                "before": self.prompts[0],
                "after": self.prompts[1],
                "same": self.prompts[0] == self.prompts[1],
            },
        }


def diff_formats(before: OutputFormat, after: OutputFormat) -> FormatDiff:
    """What changes from one format to another: calls as they are written, and what a model is told."""
    written = []
    for what, calls in (("one call", _CALLS[:1]), ("two calls", _CALLS)):
        old, new = before.render(calls), after.render(calls)
        found = after.parse(old)
        written.append(WrittenCall(what, old, new, found.calls == calls and not found.problems))
    prompts = before.system_prompt([_TOOL]), after.system_prompt([_TOOL])
    return FormatDiff(before, after, tuple(written), prompts)


@dataclass(frozen=True)
class ShownFormat:
    """A format by what it writes."""

    format: OutputFormat
    calls: str
    prompt: str

    def to_dict(self) -> dict[str, Any]:
        """Name, version and digest, the texts, and the specification, as plain JSON values."""
        return {
            **named(self.format),
            "calls": self.calls,
            "system_prompt": self.prompt,
            "spec": self.format.spec(),
        }


def show_format(which: str, workspace: Workspace | None = None) -> ShownFormat:
    """What the format `which`, as `find_format` finds it, makes of two calls and a tool.

    Raises:
        ToolDocumentError: no built-in format has that name, or the file cannot be read or is no format.
    """
    found = find_format(which, workspace)
    return ShownFormat(found, found.render(_CALLS), found.system_prompt([_TOOL]))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ToolDocumentError(
            f"the output format `{path}` cannot be read: {reason}",
            hint="docs/reference/files.md tells how one is written",
        ) from error
