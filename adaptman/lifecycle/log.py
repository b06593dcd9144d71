"""The registry's events, from a place or a time on, and whether they and the rows can be trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from adaptman.lifecycle.workspace import Workspace

if TYPE_CHECKING:
    from registry.tables import EventRow
    from registry.values import ChainReport, TableReport

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])\Z")
_SEQ = re.compile(r"[0-9]{1,9}\Z")


class Since(NamedTuple):
    """Events after number `seq` and not before `at`."""

    seq: int = 0
    at: datetime | None = None


def parse_since(text: str, now: datetime) -> Since:
    """An event number, a date or time in ISO 8601 (UTC where no zone is given), or a duration such as `7d`.

    Raises:
        ValueError: it is none of them; the message says what would be.
    """
    if _SEQ.match(text):
        return Since(seq=int(text))
    try:
        if duration := _DURATION.match(text):
            return Since(at=now - timedelta(**{UNITS[duration[2]]: int(duration[1])}))
        at = datetime.fromisoformat(text)
        return Since(at=(at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"`{text}` is neither an event number, nor a time such as `2026-03-01` or `2026-03-01T12:00`, "
            "nor a duration such as `90m`, `12h` or `7d`"
        ) from error


def read_log(workspace: Workspace, since: Since, limit: int | None) -> list[EventRow]:
    """Events in order, the oldest first."""
    with workspace.registry.read() as reader:
        return reader.events(since_seq=since.seq, limit=limit, since=since.at)


@dataclass(frozen=True)
class Verification:
    """What computing everything again has found, in one snapshot."""

    chain: ChainReport
    tables: TableReport

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return self.chain.ok and self.tables.ok


def verify_record(workspace: Workspace) -> Verification:
    """Compute the chain of events again, and compare all other rows with what the events tell of them."""
    with workspace.registry.read() as reader:
        return Verification(reader.verify_chain(), reader.verify_tables())
