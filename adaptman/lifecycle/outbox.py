"""Delivers what MLflow must still be told.

Rows are written by the registry together with what they tell of; here they are told to MLflow in order, by
one deliverer at a time in a home folder. A row that MLflow refuses holds up the later rows of its model line
only; a store that is down ends the round. Aliases are not history: they are set when the last row of a line
is told, to where the registry stands by then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from adaptman.config import ENVIRONMENT_PREFIX, Settings, redacted
from adaptman.errors import AdaptmanError
from adaptman.lifecycle.progress import Progress, Silent

if TYPE_CHECKING:
    from typing import Any

    from adaptman.lifecycle.workspace import Workspace
    from adaptman.lineage.mirror import Mirror
    from registry.reader import Reader
    from registry.tables import OutboxRow

LOCK_FILE = "lineage.lock"
LOG_FILE = "lineage.log"
LOCK_WAIT_S = 0.5
# Somebody who asks to wait does so while another process delivers what both of them want delivered.
SYNC_WAIT_S = 600.0
# Nobody watches a background delivery, so it may outlast a restart of the server; then the rows wait for the
# next command.
RETRY_AFTER_S = (1.0, 3.0, 9.0)
PAGE = 100
MAX_LOG_BYTES = 1_000_000
NOT_MIRRORED = "not_mirrored"
"""In the result of a row that MLflow has no place for: its kind."""


class Messenger(Protocol):
    """Who tells MLflow; `adaptman.lineage.mirror.Mirror` is the one."""

    def deliver(self, kind: str, key: str, payload: Mapping[str, Any]) -> dict[str, str]:
        """Tell one thing, harmlessly if it was told before."""
        ...

    def point(self, model: str, standing: Mapping[str, int | None]) -> dict[str, str]:
        """Set the aliases of a model line to these versions."""
        ...


class DeliveryReport(NamedTuple):
    """What was done. `busy` means that somebody else delivers at the moment and nothing was done here.

    `not_mirrored` counts by kind what MLflow has no place for; it waits no longer.
    """

    delivered: int
    pending: int
    error: str | None = None
    hint: str = ""
    busy: bool = False
    not_mirrored: Mapping[str, int] = MappingProxyType({})


class PendingRow(NamedTuple):
    """Something that MLflow has not been told yet."""

    key: str
    kind: str
    model: str
    created_at: datetime
    attempts: int
    last_error: str | None


def told_today(reader: Reader, row: OutboxRow) -> dict[str, Any]:
    """What a row tells; of a version whose weights were removed since, also by which rule they were."""
    if row.kind != "version.trained":
        return row.payload
    gone = reader.collected_weights(reader.version_by_id(row.payload["version_id"]))
    return row.payload if gone is None else {**row.payload, "collected": gone.reason}


def has_pending(workspace: Workspace) -> bool:
    """Whether MLflow must still be told anything."""
    with workspace.registry.read() as reader:
        return bool(reader.outbox_pending(1))


def count_pending(workspace: Workspace) -> int:
    """How many things MLflow must still be told."""
    with workspace.registry.read() as reader:
        return reader.outbox_count()


def pending_rows(workspace: Workspace, *, limit: int = 1_000) -> list[PendingRow]:
    """What MLflow must still be told, oldest first."""
    with workspace.registry.read() as reader:
        rows = reader.outbox_pending(limit)
    return [
        PendingRow(row.key, row.kind, _line(row), row.created_at, row.attempts, row.last_error)
        for row in rows
    ]


def deliver_pending(
    workspace: Workspace,
    *,
    full: bool = False,
    progress: Progress | None = None,
    wait_s: float = LOCK_WAIT_S,
    retry_after_s: Sequence[float] = (),
    pause: Callable[[float], None] = time.sleep,
    messenger: Messenger | None = None,
) -> DeliveryReport:
    """Tell MLflow everything that is pending, in order. Never raises because MLflow is down.

    `full` makes everything pending that was ever told, which fills an MLflow that was lost, and does no harm
    to one that was not. A store that is down is tried again after so many seconds each.

    Raises:
        RegistryError: the registry cannot be read or written.
    """
    work = _Delivery(workspace, progress or Silent(), messenger, again=full)
    for seconds in (*retry_after_s, None):
        while work.has_more():
            with _only_one(workspace, wait_s) as first:
                if not first:
                    return work.report(busy=True)
                work.round()
            # Somebody who was turned away while the lock was held may have left a row: look again.
        if seconds is None or not work.is_down:
            break
        pause(seconds)
        work.start_over()
    return work.report()


def start_delivery(workspace: Workspace) -> bool:
    """Start a process of its own that delivers what is pending, and do not wait for it; False if it did not.

    What it has to say is added to `lineage.log` in the home folder.
    """
    settings = workspace.settings
    if not settings.auto_sync or not has_pending(workspace):
        return False
    _reap()
    try:
        with _open_log(settings.home / LOG_FILE) as log:
            _started.append(_spawn(settings, log))
    except OSError:
        return False  # the rows stay in the outbox, and the next command tries again
    return True


@dataclass
class _Delivery:
    """One call of `deliver_pending`: what was done so far, and what holds up what."""

    workspace: Workspace
    progress: Progress
    messenger: Messenger | None
    again: bool
    """Whether what was told before must still be made pending."""
    delivered: int = 0
    not_mirrored: Counter[str] = field(default_factory=Counter)
    failed: set[int] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    error: AdaptmanError | None = None
    is_down: bool = False

    def has_more(self) -> bool:
        return not self.is_down and (self.again or bool(self._next_page()))

    def start_over(self) -> None:
        self.is_down, self.error = False, None
        self.failed.clear()
        self.blocked.clear()

    def round(self) -> None:
        if self.again:
            # Under the lock, so that nobody marks a row as told that an older MLflow was told.
            self.workspace.registry.write(lambda writer: writer.outbox_again())
            self.again = False
        self.progress.start("telling MLflow", count_pending(self.workspace) - len(self.failed))
        while not self.is_down and (page := self._next_page()):
            for row in page:
                self._one(row)
                if self.is_down:
                    return
                self.progress.advance(1, row.kind)
        self.progress.finish(f"{self.delivered} told")

    def _next_page(self) -> list[OutboxRow]:
        with self.workspace.registry.read() as reader:
            rows = reader.outbox_pending(PAGE + len(self.failed))
        return [row for row in rows if row.id not in self.failed]

    def _one(self, row: OutboxRow) -> None:
        line = _line(row)
        if line in self.blocked:
            self.failed.add(row.id)
            return
        try:
            result = self._tell(row, line)
        except AdaptmanError as error:
            self._failed(row, line, error)
            return
        self.workspace.registry.write(lambda writer: writer.outbox_done(row.id, result))
        self.delivered += 1
        if NOT_MIRRORED in result:
            self.not_mirrored[row.kind] += 1

    def _tell(self, row: OutboxRow, line: str) -> dict[str, str]:
        with self.workspace.registry.read() as reader:
            payload = told_today(reader, row)
        result = self._messenger().deliver(row.kind, row.key, payload)
        with self.workspace.registry.read() as reader:
            standing = reader.outbox_standing(row) if line else None
        if standing is None:
            return result
        return {**result, **self._messenger().point(line, standing._asdict())}

    def _failed(self, row: OutboxRow, line: str, error: AdaptmanError) -> None:
        from adaptman.lineage.errors import StoreDownError

        said = redacted(error.message)
        self.workspace.registry.write(lambda writer: writer.outbox_failed(row.id, said))
        self.failed.add(row.id)
        self.blocked.add(line)
        self.error = self.error or error
        self.is_down = isinstance(error, StoreDownError)

    def _messenger(self) -> Messenger:
        if self.messenger is None:
            self.messenger = open_mirror(self.workspace)
        return self.messenger

    def report(self, *, busy: bool = False) -> DeliveryReport:
        pending = count_pending(self.workspace)
        done = DeliveryReport(self.delivered, pending, not_mirrored=dict(self.not_mirrored))
        if busy:
            return done._replace(error="somebody else is telling MLflow now", busy=True)
        if self.error is None:
            return done
        return done._replace(error=redacted(self.error.message), hint=redacted(self.error.hint))


def open_mirror(workspace: Workspace) -> Mirror:
    """The mirror that the settings name; the registry's first event identifies who writes."""
    from adaptman.lineage.mirror import Mirror

    with workspace.registry.read() as reader:
        first = reader.events(limit=1)
    settings = workspace.settings
    owner = first[0].hash if first else ""
    return Mirror(settings.tracking_uri, workspace.store, settings.artifact_location, owner=owner)


def _line(row: OutboxRow) -> str:
    return str(row.payload.get("model", ""))


@contextmanager
def _only_one(workspace: Workspace, wait_s: float) -> Iterator[bool]:
    """True inside when this is the home folder's only deliverer. A process that dies lets go of the lock."""
    from filelock import FileLock, Timeout

    lock = FileLock(workspace.settings.home / LOCK_FILE, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


_started: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Forget deliverers that have ended, so that a long-lived process gathers no zombies."""
    _started[:] = [process for process in _started if process.poll() is None]


def _open_log(path: Path) -> BinaryIO:
    too_big = path.exists() and path.stat().st_size > MAX_LOG_BYTES
    return path.open("wb" if too_big else "ab")


def _spawn(settings: Settings, log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: a folder `registry` beside the user's files must not be taken for ours.
        [sys.executable, "-P", "-m", "adaptman", "lineage", "sync", "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=_environment(settings),
        start_new_session=True,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """The settings in force, whatever file or flag they came from.

    Not on the command line, where everybody on the machine could read a password.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    handed = {
        f"{ENVIRONMENT_PREFIX}{name}".upper(): str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }
    return {**os.environ, **handed, "PYTHONPATH": os.pathsep.join([*paths, root])}
