"""Leases and the outbox: what goes on now. Only a lease taken over from a dead holder is an event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import col, select

from registry.canonical import plain
from registry.errors import LeaseHeldError, LeaseLostError
from registry.tables import Lease, OutboxRow
from registry.writer_base import WriterBase, finite, said


class UpkeepWriter(WriterBase):
    """One lease a model line; delivery marks of the outbox."""

    def acquire_lease(self, model_id: int, holder: str, ttl_s: float) -> Lease:
        """Hold the model line until `release`, or until no heartbeat came for `ttl_s` seconds.

        Raises:
            LeaseHeldError: somebody holds it; the message says who and since when.
        """
        model = self.model_by_id(model_id)
        holder, ttl_s = said("holder", holder), finite("ttl_s", ttl_s)
        standing = self._session.exec(select(Lease).where(Lease.model_id == model_id)).one_or_none()
        if standing is not None:
            expires = lease_expires(standing)
            if self._clock() < expires:
                raise LeaseHeldError(model.name, standing.holder, standing.acquired_at, expires)
            self._take_over(model.name, standing, holder)
        now = self._clock()
        return self._add(
            Lease(model_id=model_id, holder=holder, acquired_at=now, heartbeat_at=now, ttl_s=ttl_s)
        )

    def _take_over(self, model_name: str, standing: Lease, holder: str) -> None:
        told = {"from": standing.holder, "to": holder, "last_heartbeat": standing.heartbeat_at.isoformat()}
        self._record("lease.taken_over", f"model/{model_name}", told, model_id=standing.model_id)
        self._session.delete(standing)
        self._session.flush()

    def heartbeat(self, lease_id: int) -> Lease:
        """Say that the holder lives.

        Raises:
            LeaseLostError: the lease was taken over or released.
        """
        lease = self._session.get(Lease, lease_id)
        if lease is None:
            raise LeaseLostError(
                f"lease `{lease_id}` is gone: it was released, or expired and was taken over",
                hint="stop this run: somebody else may be at work on the model line",
            )
        lease.heartbeat_at = self._clock()
        return self._add(lease)

    def release(self, lease_id: int) -> None:
        """Let go of the model line. Releasing twice does no harm."""
        lease = self._session.get(Lease, lease_id)
        if lease is not None:
            self._session.delete(lease)
            self._session.flush()

    def outbox_done(self, row_id: int, result: dict[str, Any]) -> OutboxRow:
        """It was delivered; `result` holds what the other side named it."""
        row = self._get(OutboxRow, row_id, "outbox row with id")
        row.delivered_at, row.result, row.last_error = self._clock(), plain(result), None
        row.attempts += 1
        return self._add(row)

    def outbox_failed(self, row_id: int, error: str) -> OutboxRow:
        """It could not be delivered; it stays pending."""
        row = self._get(OutboxRow, row_id, "outbox row with id")
        row.attempts += 1
        row.last_error = error[:2000].replace("\x00", " ").encode(errors="replace").decode()
        return self._add(row)

    def outbox_again(self) -> int:
        """Everything waits to be delivered once more; returns how many rows that are.

        What the other side named them stays until they are delivered.
        """
        every = update(OutboxRow).where(col(OutboxRow.delivered_at).is_not(None))
        return int(self._session.connection().execute(every.values(delivered_at=None, attempts=0)).rowcount)


def lease_expires(lease: Lease) -> datetime:
    """When the lease may be taken over, unless a heartbeat comes before."""
    return lease.heartbeat_at + timedelta(seconds=lease.ttl_s)
