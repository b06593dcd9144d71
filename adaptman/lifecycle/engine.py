"""A version's model, loaded to be asked: the one place where stored artifacts become a model in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman.errors import ModelError
from adaptman.lifecycle.workspace import Workspace
from adaptman.toolspec.formats import OutputFormat, output_format, recorded_format

if TYPE_CHECKING:
    from adaptman.learning.answerer import ModelAnswerer
    from adaptman.learning.chat import ChatRenderer
    from adaptman.learning.models import LoadedModel
    from registry.tables import ModelVersion

DEFAULT_FORMAT = "hermes"


def base_path(workspace: Workspace, version: ModelVersion) -> Path:
    """The base checkpoint's directory, every file verified.

    Raises:
        ArtifactError: a file is missing or its digest does not match.
    """
    return workspace.store.checkout(version.base_digest)


def check_weights(version: ModelVersion) -> None:
    """Tell a version that was trained or folded, or is the base itself, from one that came to nothing.

    Raises:
        ModelError: the version has no weights.
    """
    if version.adapter_id is None and version.parent_id is not None and not version.has_own_checkpoint:
        raise ModelError(
            f"version {version.number} is `{version.state}`: it has no weights",
            hint="`adaptman version list` shows which versions were trained",
        )


def adapter_path(workspace: Workspace, version: ModelVersion) -> Path | None:
    """The adapter's directory, every file verified; None where the checkpoint is all.

    Raises:
        ModelError: the version has no weights: it is still in training, or failed.
        ArtifactError: a file is missing or its digest does not match.
    """
    digest = adapter_digest(workspace, version)
    return None if digest is None else workspace.store.checkout(digest)


def adapter_digest(workspace: Workspace, version: ModelVersion) -> str | None:
    """The digest of the adapter's tree; None where the checkpoint is all.

    Raises:
        ModelError: the version has no weights: it is still in training, or failed.
        CollectedError: its weights were removed from the store.
    """
    check_weights(version)
    with workspace.registry.read() as reader:
        reader.check_kept(version)
        return None if version.adapter_id is None else reader.adapter(version.adapter_id).tree_digest


def version_format(workspace: Workspace, version: ModelVersion) -> OutputFormat:
    """The output format that a version was taught; the base was taught none and is read in the default.

    Made from the registry's row: the file of an own format is not needed any more.

    Raises:
        ToolDocumentError: this adaptman writes the format otherwise than it did when it was taught.
    """
    if version.output_format_id is None:
        return output_format(DEFAULT_FORMAT)
    with workspace.registry.read() as reader:
        row = reader.output_format(version.output_format_id)
    return recorded_format(row.name, row.version, row.spec, row.digest)


def use_hardware(workspace: Workspace) -> None:
    """Apply the settings `threads`, if there is one, and `device`.

    Raises:
        ModelError: torch cannot compute on the device.
    """
    from adaptman.learning import models

    if workspace.settings.threads is not None:
        models.use_threads(workspace.settings.threads)
    models.use_device(workspace.settings.device)


def device() -> str:
    """The name of what is computed on."""
    from adaptman.learning import models

    return str(models.hardware()["device"])


def load_version(workspace: Workspace, version: ModelVersion) -> LoadedModel:
    """The version's model with its adapter merged.

    Raises:
        ArtifactError: an artifact is missing or damaged.
        ModelError: it has no weights, or cannot be loaded.
    """
    from adaptman.learning import models

    use_hardware(workspace)
    return models.load(base_path(workspace, version), adapter_path(workspace, version))


def load_base(workspace: Workspace, version: ModelVersion) -> LoadedModel:
    """The base that a version's line began with, whatever was folded since.

    Raises:
        ArtifactError: a file is missing or damaged.
        ModelError: it cannot be loaded.
    """
    with workspace.registry.read() as reader:
        first = reader.ancestry(version)[0]
    return load_version(workspace, first)


def disturb(loaded: LoadedModel, seed: int, share: float) -> None:
    """Noise on the loaded weights: `share` of the standard deviation of each matrix."""
    from adaptman.learning import models

    models.disturb(loaded, seed, share)


def renderer_of(loaded: LoadedModel, fmt: OutputFormat) -> ChatRenderer:
    """Writes conversations for a loaded model."""
    from adaptman.learning.chat import ChatRenderer

    return ChatRenderer(loaded.tokenizer, fmt)


def bare_renderer(
    workspace: Workspace, version: ModelVersion, fmt: OutputFormat | None = None
) -> ChatRenderer:
    """Writes conversations as a version reads them, or in another format; of its base everything but the
    weights is read.

    Raises:
        ArtifactError: a file is missing or damaged.
        ModelError: the tokenizer cannot be loaded.
        ToolDocumentError: this adaptman writes the output format otherwise than it was taught.
    """
    from adaptman.learning.chat import ChatRenderer
    from adaptman.learning.models import load_tokenizer

    fmt = fmt or version_format(workspace, version)
    with _bare_base(workspace, version) as folder:
        return ChatRenderer(load_tokenizer(folder), fmt)


def layer_names(workspace: Workspace, version: ModelVersion) -> list[str]:
    """Names of the linear layers of a version's base, of which everything but the weights is read.

    Raises:
        ArtifactError: a file is missing or damaged.
        ModelError: it cannot be read.
    """
    from adaptman.learning import models

    with _bare_base(workspace, version) as folder:
        return models.layer_names(folder)


@contextmanager
def _bare_base(workspace: Workspace, version: ModelVersion) -> Iterator[Path]:
    """The base of a version without its weights, as long as it is asked for."""
    store = workspace.store
    with tempfile.TemporaryDirectory() as folder:
        for name, entry in store.tree(version.base_digest).items():
            if not name.endswith(".safetensors"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(store.get_bytes(entry.sha256))
        yield Path(folder)


def answerer_of(loaded: LoadedModel, fmt: OutputFormat, *, batch_size: int = 128) -> ModelAnswerer:
    """The loaded model as suites ask it, so many cases at a time."""
    from adaptman.learning.answerer import ModelAnswerer

    return ModelAnswerer(loaded, renderer_of(loaded, fmt), batch_size=batch_size)
