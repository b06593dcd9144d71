"""Record what capacity audits found.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Written out and not imported: a migration must not change when the program does.
TABLE = "capacity_audit"
KEPT = "capacity_audit_kept"
"""Where a downgrade keeps the rows, for the case that the database is ever upgraded again."""


def upgrade() -> None:
    op.create_table(
        TABLE,
        *columns(),
        sa.PrimaryKeyConstraint("id", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=f"fk_{TABLE}_version_id"),
        sa.ForeignKeyConstraint(["event_seq"], ["event.seq"], name=f"fk_{TABLE}_event_seq"),
    )
    op.create_index(f"ix_{TABLE}_version_id", TABLE, ["version_id"])
    if sa.inspect(op.get_bind()).has_table(KEPT):
        op.execute(f"INSERT INTO {TABLE} SELECT * FROM {KEPT}")
        op.drop_table(KEPT)
        if not on_sqlite():  # the next row gets a number after those that came back
            op.execute(f"SELECT setval('{TABLE}_id_seq', (SELECT max(id) FROM {TABLE}))")
        tell()
    protect()


def downgrade() -> None:
    if op.get_bind().execute(sa.text(f"SELECT 1 FROM {TABLE} LIMIT 1")).scalar():
        op.create_table(KEPT, *columns())
        op.execute(f"INSERT INTO {KEPT} SELECT * FROM {TABLE}")
    op.drop_table(TABLE)


def columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("room_bits", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("report_digest", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_seq", sa.Integer(), nullable=False),
    ]


def tell() -> None:
    """One event for the rows that came back: a snapshot of an older revision did not tell of them."""
    bind = op.get_bind()
    event = sa.Table("event", sa.MetaData(), autoload_with=bind, resolve_fks=False)
    table = sa.Table(TABLE, sa.MetaData(), autoload_with=bind, resolve_fks=False)
    rows = bind.execute(sa.select(table).order_by(table.c.id)).mappings()
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
        "changes": [inserted(dict(one)) for one in rows],
        "prev_hash": last.hash,
    }
    told = [row[name] for name in ("seq", "at", "actor", "kind", "subject", "model_id", "payload", "changes")]
    told[1] = stamp(at)
    written = json.dumps([*told, last.hash], sort_keys=True, separators=(",", ":"), allow_nan=False)
    bind.execute(sa.insert(event), [row | {"hash": hashlib.sha256(written.encode()).hexdigest()}])


def inserted(row: dict[str, Any]) -> dict[str, Any]:
    key = {"id": row.pop("id")}
    values = {name: stamp(value) if isinstance(value, datetime) else value for name, value in row.items()}
    return {"table": TABLE, "op": "insert", "key": key, "values": values}


def stamp(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def protect() -> None:
    """Refuse every change of a row that is there, whoever asks."""
    if on_sqlite():
        for action in ("update", "delete"):
            refuse_on_sqlite(f"{TABLE}_no_{action}", action)
        # `INSERT OR REPLACE` would delete the row that is there.
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_replace BEFORE INSERT ON {TABLE} "
            f"WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE id = NEW.id) "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {TABLE} are never changed'); END"
        )
        return
    for action, each in (("update", "ROW"), ("delete", "ROW"), ("truncate", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{action} BEFORE {action.upper()} ON {TABLE} "
            f"FOR EACH {each} EXECUTE FUNCTION registry_refuse_change()"
        )


def on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def refuse_on_sqlite(name: str, action: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {action.upper()} ON {TABLE} "
        f"BEGIN SELECT RAISE(ABORT, 'rows of {TABLE} are never changed'); END"
    )
