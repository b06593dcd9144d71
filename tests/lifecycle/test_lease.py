"""The lease on a model line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from adaptman.errors import BusyError
from adaptman.lifecycle.lease import TTL_S, Hold, Watched, beat_once, held, is_dead
from tests.lifecycle.story import Story
from tests.lifecycle.tiny_line import Recorder


def holders(story: Story) -> list[str]:
    with story.workspace.registry.read() as reader:
        return [lease.holder for lease in reader.leases()]


def take(story: Story, holder: str) -> int:
    """The line, held by somebody else."""
    return story.workspace.registry.write(
        lambda writer: writer.acquire_lease(story.model.id, holder, TTL_S).id
    )


def dead_pid() -> int:
    """The id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_who_holds_it_is_told(begun: Story) -> None:
    with held(begun.workspace, begun.model, "evaluate 3"):
        assert holders(begun) == [f"pid {os.getpid()} on {socket.gethostname()}: evaluate 3"]
        with (
            pytest.raises(BusyError, match=r"held by `pid \d+ on .*: evaluate 3` since 2026-01-05") as raised,
            held(begun.workspace, begun.model, "update"),
        ):
            raise AssertionError("two hold it")
        assert raised.value.hint
        assert len(holders(begun)) == 1
    assert holders(begun) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_let_go_of_on_an_error(begun: Story, error: type[BaseException]) -> None:
    with pytest.raises(error), held(begun.workspace, begun.model, "update"):
        raise error
    assert holders(begun) == []


def test_a_dead_process_of_this_machine_is_taken_over_at_once(begun: Story) -> None:
    take(begun, f"pid {dead_pid()} on {socket.gethostname()}: update")
    with held(begun.workspace, begun.model, "update"):
        assert len(holders(begun)) == 1


def test_another_machine_is_waited_for_until_its_heartbeat_stops(begun: Story) -> None:
    take(begun, f"pid {dead_pid()} on elsewhere.example: update")
    begun.clock.forward(seconds=TTL_S - 1)
    with pytest.raises(BusyError, match="elsewhere"), held(begun.workspace, begun.model, "update"):
        pass
    begun.clock.forward(seconds=1)
    with held(begun.workspace, begun.model, "update"):
        assert "elsewhere" not in holders(begun)[0]


def test_a_heartbeat_keeps_it(begun: Story) -> None:
    lease = take(begun, "pid 1 on elsewhere.example: update")
    hold = Hold("default")
    for _ in range(3):
        begun.clock.forward(seconds=TTL_S - 1)
        beat_once(begun.workspace, lease, hold)
    hold.check()
    with pytest.raises(BusyError), held(begun.workspace, begun.model, "update"):
        pass


def test_a_lost_lease_stops_the_work(begun: Story) -> None:
    lease, hold = take(begun, "pid 1 on elsewhere.example: update"), Hold("default")
    progress = Watched(Recorder(), hold)
    progress.start("training", 2)
    progress.advance(1)
    begun.clock.forward(seconds=TTL_S)
    with held(begun.workspace, begun.model, "update"):
        beat_once(begun.workspace, lease, hold)
        with pytest.raises(BusyError, match="`default` was taken over") as raised:
            progress.advance(1)
        with pytest.raises(BusyError):
            progress.finish()
        with pytest.raises(BusyError):
            progress.start("v2 on general", 1)
    assert raised.value.hint


def test_a_registry_that_is_away_is_no_lost_lease(begun: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.errors import UnavailableError

    def away(work: object) -> None:
        raise UnavailableError("the database is away")

    with held(begun.workspace, begun.model, "update") as hold:
        monkeypatch.setattr(begun.workspace.registry, "write", away)
        beat_once(begun.workspace, 1, hold)
        hold.check()


def test_who_is_not_known_to_be_dead() -> None:
    for holder in ("somebody", f"pid {os.getpid()} on {socket.gethostname()}: x", "pid 1 on x: y"):
        assert not is_dead(holder), holder
