"""One long piece of work at a time on a model line: a lease with a heartbeat."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from adaptman.errors import BusyError
from adaptman.lifecycle.progress import Progress
from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from datetime import datetime

    from registry.tables import Lease, Model
    from registry.writer import Writer

TTL_S = 300.0
_HOLDER = re.compile(r"pid (?P<pid>\d+) on (?P<host>\S+):")


class Hold:
    """A model line that is held. A machine that slept for longer than `TTL_S` may find that it lost it."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lost = threading.Event()

    def lose(self) -> None:
        """Somebody else has taken the line over."""
        self._lost.set()

    def check(self) -> None:
        """Nothing, while the line is held.

        Raises:
            BusyError: it was lost, so that somebody else may be at work on it.
        """
        if self._lost.is_set():
            raise BusyError(
                f"model `{self._model}` was taken over by somebody else while this run stood still",
                hint="run the command again: it goes on where the other run has left it",
            )


class Watched:
    """A `Progress` that stops the work when the model line is lost."""

    def __init__(self, progress: Progress, hold: Hold) -> None:
        self._progress, self._hold = progress, hold

    def start(self, phase: str, total: int) -> None:
        """A phase of `total` units begins."""
        self._hold.check()
        self._progress.start(phase, total)

    def advance(self, units: int, note: str = "") -> None:
        """So many units are done."""
        self._hold.check()
        self._progress.advance(units, note)

    def finish(self, note: str = "") -> None:
        """The phase is over."""
        self._hold.check()
        self._progress.finish(note)


@contextlib.contextmanager
def held(workspace: Workspace, model: Model, what: str) -> Iterator[Hold]:
    """Hold `model` for the length of the block.

    A holder on this machine whose process is gone is taken over at once; one on another machine when its
    heartbeat has stopped for `TTL_S` seconds.

    Raises:
        BusyError: somebody else holds it; says who and since when.
    """
    from registry.errors import RegistryError

    lease = _acquire(workspace, model, f"pid {os.getpid()} on {socket.gethostname()}: {what}")
    hold, stop = Hold(model.name), threading.Event()
    beat = threading.Thread(target=_beat, args=(workspace, lease.id, hold, stop), daemon=True)
    beat.start()
    try:
        yield hold
    finally:
        stop.set()
        beat.join()
        # A lease that cannot be let go of ends with this process, and must not hide how the work ended.
        with contextlib.suppress(RegistryError):
            workspace.registry.write(lambda writer: writer.release(lease.id))


def _acquire(workspace: Workspace, model: Model, holder: str) -> Lease:
    from registry.errors import LeaseHeldError

    def take(writer: Writer) -> Lease:
        for standing in writer.leases():
            if standing.model_id == model.id and is_dead(standing.holder):
                writer.release(standing.id)
        return writer.acquire_lease(model.id, holder, TTL_S)

    try:
        return workspace.registry.write(take)
    except LeaseHeldError as error:
        raise BusyError(
            error.message, hint="wait until it has ended, or end it, and run the command again"
        ) from error


def is_over(lease: Lease, now: datetime) -> bool:
    """Whether the next to come takes the line over."""
    from registry.writer_upkeep import lease_expires

    return lease_expires(lease) <= now or is_dead(lease.holder)


def is_dead(holder: str) -> bool:
    """Whether the holder was a process of this machine that is gone."""
    found = _HOLDER.match(holder)
    if found is None or found["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there and belongs to somebody else
        return False
    return False


def _beat(workspace: Workspace, lease_id: int, hold: Hold, stop: threading.Event) -> None:
    while not stop.wait(TTL_S / 6):
        beat_once(workspace, lease_id, hold)


def beat_once(workspace: Workspace, lease_id: int, hold: Hold) -> None:
    """Say that the holder lives. A registry that is away for a while is made up for by the next beat."""
    from registry.errors import LeaseLostError, RegistryError

    try:
        workspace.registry.write(lambda writer: writer.heartbeat(lease_id))
    except LeaseLostError:
        hold.lose()
    except RegistryError:
        return
