"""Does a version still read what it was trained to read? The rendering on record against that of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ExampleError, ModelError, RenderingError
from adaptman.lifecycle import engine
from adaptman.lifecycle.schema import taught_schema
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.examples import Example, read_examples

if TYPE_CHECKING:
    from adaptman.learning.chat import ChatRenderer
    from adaptman.learning.rendering import Difference, Rendering
    from registry.tables import ModelVersion

_ACCEPT = "`--accept-rendering` of `adaptman update` and `adaptman evaluate`"


@dataclass(frozen=True)
class RenderingCheck:
    """A version's rendering on record and what is rendered today.

    Neither is there for a version that was not trained, or before renderings were recorded.
    """

    number: int
    recorded: str | None
    """Render digest of what it was trained to read."""
    today: str | None
    """Render digest of the same conversation now; None where the chat template refuses it now."""
    difference: Difference | None
    libraries: tuple[str, ...]
    """Libraries whose version is another one now: `transformers 5.0 → 5.1`."""

    @property
    def same(self) -> bool | None:
        """None where nothing is on record."""
        return None if self.recorded is None else self.difference is None

    @property
    def key(self) -> dict[str, str]:
        """What the key of a result says of it: nothing while it reads what it was trained to read."""
        return {} if self.difference is None or self.today is None else {"rendering": self.today}

    @property
    def told(self) -> str:
        """Where it reads otherwise, and which part is to blame; "" where it does not."""
        if self.difference is None:
            return ""
        return (
            f"version {self.number} was trained to read other bytes than are rendered today: "
            f"{_where(self.difference)}; {self._blame}"
        )

    @property
    def way_back(self) -> str:
        """How to read again what was read then."""
        if not self.libraries:
            return "install adaptman, jinja2, tokenizers and transformers again, in the same versions"
        before = ", ".join(one.partition(" → ")[0] for one in self.libraries)
        return f"install {before} again"

    @property
    def _blame(self) -> str:
        # The base's files are verified by their digests whenever they are read.
        files = "the base's template and tokenizer files are those of then"
        if not self.libraries:
            return f"{files}, and so are the versions of the libraries: one was changed in place"
        return f"{files}; {', '.join(self.libraries)}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "recorded_digest": self.recorded,
            "same": self.same,
            "difference": dict(self.difference._asdict()) if self.difference else None,
            "libraries": list(self.libraries),
        }


def _where(found: Difference) -> str:
    if found.part == "refused":
        return found.now
    names = {
        "text": f"the text from character {found.at} on",
        "learned": f"what is learned begins at character {found.at} in one of them",
        "tokens": f"the same text, cut otherwise from token {found.at} on",
    }
    return f"{names[found.part]}, then `{found.then}`, now `{found.now}`"


def compare_rendering(
    workspace: Workspace, version: ModelVersion, renderer: ChatRenderer | None = None
) -> RenderingCheck:
    """Render what is on record once more, by the base's own tokenizer; the model is not loaded.

    `renderer` is the version's, where the caller has it already.

    Raises:
        ArtifactError: a file of the base, or the rendering on record, is missing or damaged.
        ModelError: the tokenizer cannot be loaded.
        ToolDocumentError: this adaptman writes the output format otherwise than it was taught.
    """
    recorded = version.rendering_digest
    if recorded is None:
        return RenderingCheck(version.number, None, None, None, ())
    from adaptman.learning.rendering import Difference, first_difference, render

    then, changed = recorded_rendering(workspace, version), _changed_libraries(version)
    renderer = renderer or engine.bare_renderer(workspace, version)
    try:
        # The recorded conversation and not today's probe: another release may have another one.
        now = render(renderer, then.messages, _tools(workspace, version))
    except ModelError as error:
        refused = Difference("refused", 0, "", error.message.rstrip("."))
        return RenderingCheck(version.number, recorded, None, refused, changed)
    return RenderingCheck(version.number, recorded, now.digest, first_difference(then, now), changed)


def check_rendering(
    workspace: Workspace,
    version: ModelVersion,
    renderer: ChatRenderer | None = None,
    *,
    accept: bool = False,
) -> RenderingCheck:
    """`compare_rendering`, which must find no difference unless `accept` is given.

    Raises:
        RenderingError: the version was trained to read other bytes than are rendered today, or the chat
            template refuses the conversation now, which nobody can accept.
        ArtifactError, ModelError, ToolDocumentError: like `compare_rendering`.
    """
    found = compare_rendering(workspace, version, renderer)
    if found.difference is None or (accept and found.today is not None):
        return found
    other_way = f"; or go on with what is rendered today: {_ACCEPT}" if found.today is not None else ""
    raise RenderingError(found.told, hint=f"{found.way_back}{other_way}")


def probe_of(workspace: Workspace, version: ModelVersion, renderer: ChatRenderer | None = None) -> Rendering:
    """What a version reads of a probe conversation, under the tools and in the output format of its update.

    Raises:
        ModelError: the chat template refuses every probe, or the tokenizer cannot be loaded.
        ArtifactError: a file of the base, or the tool document, is missing or damaged.
    """
    from adaptman.learning.rendering import probe

    return probe(renderer or engine.bare_renderer(workspace, version), _tools(workspace, version))


def recorded_rendering(workspace: Workspace, version: ModelVersion) -> Rendering:
    """What a version was trained to read.

    Raises:
        RenderingError: nothing is on record.
        ArtifactError: the object is missing or damaged.
    """
    from adaptman.learning.rendering import Rendering

    if version.rendering_digest is None:
        raise RenderingError(
            f"what version {version.number} was trained to read is not on record",
            hint=f"`adaptman version render {version.number}` prints what it reads today",
        )
    return Rendering.from_json(workspace.store.get_bytes(version.rendering_digest))


def _tools(workspace: Workspace, version: ModelVersion) -> list[dict[str, Any]]:
    found = taught_schema(workspace, version)
    return found.document.as_openai() if found else []


def _changed_libraries(version: ModelVersion) -> tuple[str, ...]:
    from adaptman.learning.rendering import libraries

    return changed((version.summary or {}).get("libraries", {}), libraries())


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Each entry that has another value now: `transformers 5.0 → 5.1`."""
    return tuple(
        f"{name} {before} → {now[name]}" for name, before in then.items() if now.get(name, before) != before
    )


class ExampleLine(NamedTuple):
    """A line of a file of examples, counted from 1."""

    path: Path
    line: int


@dataclass(frozen=True)
class ShownRendering:
    """What a version reads, and whether it is what it was trained to read."""

    rendering: Rendering
    contract_digest: str | None
    """Of the tool document that the version was taught."""
    check: RenderingCheck
    example: str | None
    """The id of the example that is rendered; None for the probe."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        shown = self.rendering
        return {
            "version": self.check.number,
            "example": self.example,
            "text": shown.text,
            "learned": shown.answer,
            "tokens": len(shown.ids),
            "learned_tokens": len(shown.answer_ids),
            "render_digest": shown.digest,
            "contract_digest": self.contract_digest,
            **self.check.to_dict(),
        }


def show_rendering(
    workspace: Workspace, number: int, *, example: ExampleLine | None = None, recorded: bool = False
) -> ShownRendering:
    """What version `number` reads today: a probe conversation under its tools, or an example.

    With `recorded`, what it was trained to read, from the record.

    Raises:
        NotFoundError: there is no such version.
        ExampleError: the file cannot be read, or the line holds no example.
        RenderingError: `recorded`, and nothing is on record.
        ModelError: the chat template refuses the conversation, or the tokenizer cannot be loaded.
        ToolDocumentError: this adaptman writes the output format otherwise than it was taught.
        ArtifactError: an artifact is missing or damaged.
    """
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
    read = _example(example) if example else None
    then = recorded_rendering(workspace, version) if recorded else None
    renderer = engine.bare_renderer(workspace, version)
    found = taught_schema(workspace, version)
    return ShownRendering(
        then or _today(workspace, version, renderer, read),
        found.row.contract_digest if found else None,
        compare_rendering(workspace, version, renderer),
        read.id if read else None,
    )


def _today(
    workspace: Workspace, version: ModelVersion, renderer: ChatRenderer, example: Example | None
) -> Rendering:
    from adaptman.learning.rendering import render

    if example is not None:
        return render(renderer, example.messages, example.tools)
    if version.rendering_digest is None:
        return probe_of(workspace, version, renderer)
    messages = recorded_rendering(workspace, version).messages
    return render(renderer, messages, _tools(workspace, version))


def _example(place: ExampleLine) -> Example:
    """The example in a line of a file; no other line is looked at."""
    try:
        lines = place.path.read_bytes().split(b"\n")
    except OSError as error:
        raise ExampleError(f"`{place.path}` cannot be read: {error.strerror or error}") from error
    line = lines[place.line - 1] if place.line <= len(lines) else b""
    if not line.strip():
        raise ExampleError(
            f"`{place.path}` has no example in line {place.line}",
            hint=f"it has {sum(1 for one in lines if one.strip())} examples, one a line",
        )
    # Empty lines before it, so that what is wrong is told with the line's number.
    return read_examples(b"\n" * (place.line - 1) + line, str(place.path), None)[0]
