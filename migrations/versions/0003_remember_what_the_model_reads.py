"""Remember what a version was trained to read, and what a run shows beside its metric.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out and not imported: a migration must not change when the program does.
NEW_COLUMNS = (
    ("model_version", "rendering_digest", sa.String()),
    ("suite_run", "figures", sa.JSON()),
)
UPDATE_REFUSED = {"suite_run": "suite_run_no_update"}


def upgrade() -> None:
    changes: list[dict[str, Any]] = []
    for table, column, kind in NEW_COLUMNS:
        op.add_column(table, sa.Column(column, kind, nullable=True))
        changes += restore(table, column, kind)
    if changes:
        tell(changes)


def downgrade() -> None:
    for table, column, kind in NEW_COLUMNS:
        keep(table, column, kind)
        op.drop_column(table, column)


def kept_in(table: str, column: str) -> str:
    """The table where a downgrade keeps what the events have told of a column."""
    return f"{table}_{column}"


def keep(table: str, column: str, kind: sa.types.TypeEngine[object]) -> None:
    if op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} WHERE {column} IS NOT NULL LIMIT 1")).scalar():
        kept = kept_in(table, column)
        op.create_table(kept, sa.Column("id", sa.Integer(), nullable=False), sa.Column("value", kind))
        op.execute(f"INSERT INTO {kept} SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL")


def restore(table: str, column: str, kind: sa.types.TypeEngine[object]) -> list[dict[str, Any]]:
    """Bring back what a downgrade has kept; the changes, as events tell them."""
    kept = kept_in(table, column)
    if not sa.inspect(op.get_bind()).has_table(kept):
        return []
    query = sa.text(f"SELECT id, value FROM {kept} ORDER BY id").columns(
        sa.column("id"), sa.column("value", kind)
    )
    values = [(row.id, row.value) for row in op.get_bind().execute(query)]
    trigger = UPDATE_REFUSED.get(table)
    if trigger:
        suspend(table, trigger)
    op.execute(
        f"UPDATE {table} SET {column} = (SELECT kept.value FROM {kept} AS kept WHERE kept.id = {table}.id) "
        f"WHERE id IN (SELECT id FROM {kept})"
    )
    op.drop_table(kept)
    if trigger:
        resume(table, trigger)
    return [
        {"table": table, "op": "update", "key": {"id": key}, "values": {column: value}}
        for key, value in values
    ]


def tell(changes: list[dict[str, Any]]) -> None:
    """One event for the values that came back: a snapshot of an older revision did not tell of them."""
    bind = op.get_bind()
    event = sa.Table("event", sa.MetaData(), autoload_with=bind, resolve_fks=False)
    last = bind.execute(sa.select(event).order_by(event.c.seq.desc()).limit(1)).one()
    at = datetime.now(UTC)
    row = {
        "seq": last.seq + 1,
        "at": at,
        "actor": "adaptman db upgrade",
        "kind": "record.restored",
        "subject": "record",
        "model_id": None,
        "payload": {"revision": revision},
        "changes": changes,
        "prev_hash": last.hash,
    }
    told = [row[name] for name in ("seq", "at", "actor", "kind", "subject", "model_id", "payload", "changes")]
    told[1] = at.isoformat(timespec="microseconds")
    written = json.dumps([*told, last.hash], sort_keys=True, separators=(",", ":"), allow_nan=False)
    bind.execute(sa.insert(event), [row | {"hash": hashlib.sha256(written.encode()).hexdigest()}])


def on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def suspend(table: str, trigger: str) -> None:
    op.execute(f"DROP TRIGGER {trigger}" if on_sqlite() else f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")


def resume(table: str, trigger: str) -> None:
    if on_sqlite():
        op.execute(
            f"CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
        )
    else:
        op.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")
