"""Writing down which objects are taken out of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from registry.tables import Collected, EventRow
from registry.writer_base import WriterBase, at_least, said


class Leaving(NamedTuple):
    """An object that is about to be removed, and why."""

    digest: str
    size_bytes: int
    reason: str


class ObjectsWriter(WriterBase):
    """The record of removals. It is written first: a removal that dies half way is taken up again from it."""

    def collect(self, leaving: Sequence[Leaving], *, policy_name: str, policy_digest: str) -> list[Collected]:
        """Record that objects leave the store, in one event."""
        told = {
            "count": len(leaving),
            "bytes": sum(one.size_bytes for one in leaving),
            "policy": said("policy_name", policy_name),
            "policy_digest": said("policy_digest", policy_digest),
            "reasons": dict(sorted(Counter(one.reason for one in leaving).items())),
        }

        def rows(event: EventRow) -> list[Collected]:
            return [
                Collected(
                    object_digest=said("digest", one.digest),
                    size_bytes=at_least("size_bytes", one.size_bytes, bits=63),
                    reason=said("reason", one.reason),
                    actor=self._actor,
                    at=event.at,
                    event_seq=event.seq,
                )
                for one in leaving
            ]

        return list(self._record_with("objects.collected", "store", told, rows).rows)
