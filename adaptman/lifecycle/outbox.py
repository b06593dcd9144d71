"""Delivers what MLflow must still be told.

Rows are written by the registry together with what they tell of; here they are told to MLflow in order, by
one deliverer at a time in a home folder. A row that MLflow refuses holds up the later rows of its model line
only; a store that is down ends the round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from adaptman.config import ENVIRONMENT_PREFIX, Settings, redacted
from adaptman.errors import AdaptmanError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from adaptman.lifecycle.workspace import Workspace
    from registry.tables import OutboxRow

LOCK_FILE = "lineage.lock"
LOG_FILE = "lineage.log"
LOCK_WAIT_S = 0.5
# Somebody who asks to wait does so while another process delivers what both of them want delivered.
SYNC_WAIT_S = 600.0
PAGE = 100
MAX_LOG_BYTES = 1_000_000

OnProgress = Callable[[int, int], None]
"""Called after each row: how many were delivered, and how many that will be with those already read."""


class Messenger(Protocol):
    """Who tells MLflow; `adaptman.lineage.mirror.Mirror` is the one."""

    def deliver(self, kind: str, key: str, payload: Mapping[str, Any]) -> dict[str, str]:
        """Tell one thing, harmlessly if it was told before."""
        ...


class DeliveryReport(NamedTuple):
    """What a round did. `busy` means that somebody else delivers at the moment and nothing was done here."""

    delivered: int
    pending: int
    error: str | None = None
    hint: str = ""
    busy: bool = False


class PendingRow(NamedTuple):
    """Something that MLflow has not been told yet."""

    key: str
    kind: str
    model: str
    created_at: datetime
    attempts: int
    last_error: str | None


def has_pending(workspace: Workspace) -> bool:
    """Whether MLflow must still be told anything."""
    with workspace.registry.read() as reader:
        return bool(reader.outbox_pending(1))


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
    on_progress: OnProgress | None = None,
    wait_s: float = LOCK_WAIT_S,
    messenger: Messenger | None = None,
) -> DeliveryReport:
    """Tell MLflow everything that is pending, in order. Never raises because MLflow is down.

    Raises:
        RegistryError: the registry cannot be read or written.
    """
    work = _Delivery(workspace, on_progress or (lambda delivered, known: None), messenger)
    while work.has_more():
        with _only_one(workspace, wait_s) as first:
            if not first:
                return work.report(busy=True)
            work.round()
        # Somebody who was turned away while the lock was held may have left a row: look again.
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
    on_progress: OnProgress
    messenger: Messenger | None
    delivered: int = 0
    failed: set[int] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    error: AdaptmanError | None = None
    stopped: bool = False

    def has_more(self) -> bool:
        return not self.stopped and bool(self._next_page())

    def round(self) -> None:
        while not self.stopped and (page := self._next_page()):
            for at, row in enumerate(page, start=1):
                self._one(row)
                self.on_progress(self.delivered, self.delivered + len(page) - at)
                if self.stopped:
                    break

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
            result = self._messenger().deliver(row.kind, row.key, row.payload)
        except AdaptmanError as error:
            self._failed(row, line, error)
            return
        self.workspace.registry.write(lambda writer: writer.outbox_done(row.id, dict(result)))
        self.delivered += 1

    def _failed(self, row: OutboxRow, line: str, error: AdaptmanError) -> None:
        from adaptman.lineage.errors import StoreDownError

        said = redacted(error.message)
        self.workspace.registry.write(lambda writer: writer.outbox_failed(row.id, said))
        self.failed.add(row.id)
        self.blocked.add(line)
        self.error = self.error or error
        self.stopped = isinstance(error, StoreDownError)

    def _messenger(self) -> Messenger:
        if self.messenger is None:
            self.messenger = open_mirror(self.workspace)
        return self.messenger

    def report(self, *, busy: bool = False) -> DeliveryReport:
        pending = len(pending_rows(self.workspace))
        if busy:
            return DeliveryReport(self.delivered, pending, "somebody else is telling MLflow now", busy=True)
        if self.error is None:
            return DeliveryReport(self.delivered, pending)
        message, hint = redacted(self.error.message), redacted(self.error.hint)
        return DeliveryReport(self.delivered, pending, message, hint)


def open_mirror(workspace: Workspace) -> Messenger:
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
