"""Says where MLflow differs from what the registry had it told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adaptman.config import redacted
from adaptman.errors import LineageError
from adaptman.lifecycle.outbox import open_mirror, told_today
from adaptman.lifecycle.progress import Progress, Silent
from adaptman.lifecycle.workspace import Workspace, sqlite_file

if TYPE_CHECKING:
    from adaptman.lineage.audit import Difference, Line
    from registry.reader import Reader
    from registry.tables import Model


class MirrorReport(NamedTuple):
    """`told` things were compared; `waiting` ones were not, since MLflow does not know them yet."""

    told: int
    waiting: int
    differences: list[Difference]
    warnings: list[Difference]

    @property
    def same(self) -> bool:
        """Whether MLflow holds everything as it was told, and was told everything."""
        return not self.differences and not self.waiting


def verify_mirror(
    workspace: Workspace, *, deep: bool = False, progress: Progress | None = None
) -> MirrorReport:
    """Compare every model line; `deep` downloads the adapters' files and computes their digests again.

    Raises:
        LineageError: MLflow cannot be asked, so nothing is known.
        ArtifactError: the object store cannot say which files an adapter has.
        RegistryError: the registry cannot be read.
    """
    told = progress or Silent()
    with workspace.registry.read() as reader:
        lines = [_line(reader, model) for model in reader.models()]
        waiting = reader.outbox_count()
    _check_there(workspace)
    mirror = open_mirror(workspace)
    told.start("comparing with MLflow", len(lines))
    found = []
    for line in lines:
        found += mirror.differences(line, deep=deep)
        told.advance(1, line.model)
    told.finish()
    return MirrorReport(
        told=sum(len(line.told) for line in lines),
        waiting=waiting,
        differences=[one for one in found if not one.warning],
        warnings=[one for one in found if one.warning],
    )


def _line(reader: Reader, model: Model) -> Line:
    from adaptman.lineage.audit import Line, Told

    rows = reader.outbox_of(model.id)
    told = [Told(row.kind, row.key, told_today(reader, row)) for row in rows if row.delivered_at is not None]
    all_told = len(told) == len(rows)
    return Line(model.name, told, reader.standing(model.id)._asdict() if all_told else None)


def _check_there(workspace: Workspace) -> None:
    """Opening a database that is not there would make an empty one."""
    file = sqlite_file(workspace.settings.tracking_uri)
    if file is not None and not file.is_file():
        raise LineageError(
            f"no MLflow database at `{redacted(workspace.settings.tracking_uri)}`",
            hint="run `adaptman lineage sync`, or with `--full` if there was one that was lost",
        )
