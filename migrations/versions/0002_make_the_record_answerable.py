"""Make the record answerable: approvals, signatures, audits, collected objects, and what each event changed.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Written out and not imported: a migration must not change when the program does.
NEW_TABLES = ("approval", "signature", "suite_audit", "collected")
# What makes a row of an append-only table unique: `INSERT OR REPLACE` would delete the row that is there.
UNIQUE = {
    "adapter": ("id", "tree_digest"),
    "approval": ("id",),
    "case_outcome": ("suite_run_id, position", "suite_run_id, case_id"),
    "champion_move": ("id",),
    "collected": ("id",),
    "decision": ("id",),
    "example_set": ("id",),
    "model": ("id", "name"),
    "model_version": ("id", "model_id, number"),
    "output_format": ("id", "name, version"),
    "replay_set": ("id",),
    "signature": ("id",),
    "suite": ("id", "model_id, name, revision"),
    "suite_audit": ("id",),
    "suite_run": ("id",),
    "tool_schema": ("id", "model_id, number"),
}
PLACE = "id, model_id, number"
KEPT = "event_changes"
"""Where a downgrade keeps what the events need if the database is ever upgraded again."""


def upgrade() -> None:
    op.add_column("event", sa.Column("changes", sa.JSON(), nullable=True))
    op.add_column("decision", sa.Column("policy", sa.JSON(), nullable=True))
    op.add_column("suite_run", sa.Column("cache_key", sa.String(), nullable=True))
    op.add_column(
        "suite_run", sa.Column("complete", sa.Boolean(), nullable=False, server_default=sa.text("true"))
    )
    op.create_index("ix_suite_run_cache_key", "suite_run", ["cache_key"])
    op.add_column("model_version", sa.Column("author", sa.String(), nullable=False, server_default=""))
    name_authors()
    # One case of one suite is asked for by the runs on that suite: an index over all cases of all suites
    # would answer with the cases of other suites that share its name. Revision 0001 refused a case that
    # occurs twice in a run, so there is nothing that the index could refuse.
    op.drop_index("ix_case_outcome_case_id", "case_outcome")
    op.create_index("uq_case_outcome_case_id", "case_outcome", ["suite_run_id", "case_id"], unique=True)
    # The last move of one line is one step into this index, however many lines have moved since.
    op.drop_index("ix_champion_move_model_id", "champion_move")
    op.create_index("ix_champion_move_model_id", "champion_move", ["model_id", "id"])
    create_tables()
    restore_changes()
    append_snapshot()
    protect()


def downgrade() -> None:
    unprotect()
    keep_changes()
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.drop_index("ix_champion_move_model_id", "champion_move")
    op.create_index("ix_champion_move_model_id", "champion_move", ["model_id"])
    op.drop_index("uq_case_outcome_case_id", "case_outcome")
    op.create_index("ix_case_outcome_case_id", "case_outcome", ["case_id"])
    op.drop_index("ix_suite_run_cache_key", "suite_run")
    for table, column in (
        ("model_version", "author"),
        ("suite_run", "complete"),
        ("suite_run", "cache_key"),
        ("decision", "policy"),
        ("event", "changes"),
    ):
        op.drop_column(table, column)


def name_authors() -> None:
    """Who began a version stands in its first event."""
    op.execute(
        "UPDATE model_version SET author = COALESCE((SELECT event.actor FROM event JOIN model "
        "ON model.id = model_version.model_id WHERE event.kind IN ('version.started', 'version.base') "
        "AND event.subject = 'version/' || model.name || '/' || model_version.number "
        "ORDER BY event.seq LIMIT 1), '')"
    )


def create_tables() -> None:
    op.create_table(
        "approval",
        row_id(),
        number("version_id"),
        number("decision_id"),
        words("note"),
        words("actor"),
        when("at"),
        number("event_seq"),
        key_of("approval"),
        refers("approval", "version_id", "model_version.id"),
        refers("approval", "decision_id", "decision.id"),
        refers("approval", "event_seq", "event.seq"),
    )
    op.create_index("ix_approval_version_id", "approval", ["version_id"])
    op.create_table(
        "signature",
        row_id(),
        number("version_id"),
        words("key_id"),
        words("envelope"),
        words("actor"),
        when("at"),
        number("event_seq"),
        key_of("signature"),
        refers("signature", "version_id", "model_version.id"),
        refers("signature", "event_seq", "event.seq"),
    )
    op.create_index("ix_signature_version_id", "signature", ["version_id"])
    op.create_table(
        "suite_audit",
        row_id(),
        number("suite_id"),
        number("version_id"),
        words("suite_digest"),
        number("runs"),
        number("cases"),
        sa.Column("flaky", sa.JSON(), nullable=False),
        words("report_digest", nullable=True),
        words("actor"),
        when("at"),
        number("event_seq"),
        key_of("suite_audit"),
        refers("suite_audit", "suite_id", "suite.id"),
        refers("suite_audit", "version_id", "model_version.id"),
        refers("suite_audit", "event_seq", "event.seq"),
    )
    op.create_index("ix_suite_audit_suite_id", "suite_audit", ["suite_id"])
    op.create_table(
        "collected",
        row_id(),
        words("object_digest"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        words("reason"),
        words("actor"),
        when("at"),
        number("event_seq"),
        key_of("collected"),
        refers("collected", "event_seq", "event.seq"),
    )
    op.create_index("ix_collected_object_digest", "collected", ["object_digest"])


def row_id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), nullable=False)


def words(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def when(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def key_of(table: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


# the snapshot: what the events before it did not tell


def append_snapshot() -> None:
    """One event that tells of all rows as they stand: what comes after can be compared."""
    bind, event = op.get_bind(), stored("event")
    last = bind.execute(sa.select(event).order_by(event.c.seq.desc()).limit(1)).one_or_none()
    if last is None:
        return
    at = datetime.now(UTC)
    row = {
        "seq": last.seq + 1,
        "at": at,
        "actor": "adaptman db upgrade",
        "kind": "record.snapshot",
        "subject": "record",
        "model_id": None,
        "payload": {"revision": revision},
        "changes": plain([change for table in sorted(UNIQUE) for change in changes_of(table)]),
        "prev_hash": last.hash,
    }
    told = [row[name] for name in ("seq", "at", "actor", "kind", "subject", "model_id", "payload", "changes")]
    told[1] = stamp(at)
    row["hash"] = sha256([*told, last.hash])
    bind.execute(sa.insert(event), [row])


def stored(table: str) -> sa.Table:
    """The table as it stands at this revision."""
    return sa.Table(table, sa.MetaData(), autoload_with=op.get_bind(), resolve_fks=False)


def changes_of(name: str) -> list[dict[str, Any]]:
    table = stored(name)
    keys = [one.name for one in table.primary_key]
    query = sa.select(table).order_by(*table.primary_key)
    rows = op.get_bind().execute(query, execution_options={"yield_per": 1000}).mappings()
    if name == "case_outcome":
        runs = groupby(rows, lambda row: row["suite_run_id"])
        return [change_of_outcomes(run, list(some)) for run, some in runs]
    return [
        {
            "table": name,
            "op": "insert",
            "key": {key: row[key] for key in keys},
            "values": {key: told_value(value) for key, value in row.items() if key not in keys},
        }
        for row in rows
    ]


def change_of_outcomes(run: int, rows: list[Any]) -> dict[str, Any]:
    digest = sha256([[row["position"], row["case_id"], row["score"]] for row in rows])
    values = {"count": len(rows), "sha256": digest}
    return {"table": "case_outcome", "op": "insert", "key": {"suite_run_id": run}, "values": values}


def told_value(value: Any) -> Any:
    return stamp(value) if isinstance(value, datetime) else value


def stamp(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")


def plain(value: Any) -> Any:
    return json.loads(canonical(value))


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


# what the hashes of events need survives a downgrade


def keep_changes() -> None:
    if op.get_bind().execute(sa.text("SELECT 1 FROM event WHERE changes IS NOT NULL LIMIT 1")).scalar():
        op.create_table(KEPT, number("seq"), sa.Column("changes", sa.JSON(), nullable=False))
        op.execute(f"INSERT INTO {KEPT} SELECT seq, changes FROM event WHERE changes IS NOT NULL")


def restore_changes() -> None:
    if not sa.inspect(op.get_bind()).has_table(KEPT):
        return
    trigger = "event_no_update"
    if on_sqlite():
        op.execute(f"DROP TRIGGER {trigger}")
    else:
        op.execute(f"ALTER TABLE event DISABLE TRIGGER {trigger}")
    op.execute(
        f"UPDATE event SET changes = (SELECT kept.changes FROM {KEPT} AS kept WHERE kept.seq = event.seq)"
    )
    op.drop_table(KEPT)
    if on_sqlite():
        refuse_on_sqlite("event", trigger, "UPDATE")
    else:
        op.execute(f"ALTER TABLE event ENABLE TRIGGER {trigger}")


# triggers


def protect() -> None:
    """Refuse every change of a row that is there, whoever asks; a version may change but not go or move."""
    for table in (*NEW_TABLES, "model"):
        refuse(table, "UPDATE")
        refuse(table, "DELETE")
    refuse("model_version", "DELETE")
    refuse("model_version", "UPDATE", PLACE)
    if on_sqlite():
        for table, uniques in UNIQUE.items():
            refuse_replacing(table, uniques)
        refuse_second_champion()
    else:
        # With a code of its own the program can tell it from a server that does not answer.
        op.execute(
            "CREATE OR REPLACE FUNCTION registry_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        for table in (*NEW_TABLES, "model", "model_version"):
            op.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()"
            )


def unprotect() -> None:
    """Take away the triggers on tables that stay."""
    names = [("model", "model_no_update"), ("model", "model_no_delete")]
    names += [("model_version", "model_version_no_delete"), ("model_version", "model_version_no_move")]
    if on_sqlite():
        names += [(table, f"{table}_no_replace") for table in UNIQUE if table not in NEW_TABLES]
        names += [("model_version", f"model_version_one_champion_{one}") for one in ("insert", "update")]
    else:
        names += [(table, f"{table}_no_truncate") for table in ("model", "model_version")]
    for table, name in names:
        op.execute(f"DROP TRIGGER {name}" + ("" if on_sqlite() else f" ON {table}"))


def refuse(table: str, action: str, columns: str = "") -> None:
    name = f"{table}_no_{'move' if columns else action.lower()}"
    doing = f"{action} OF {columns}" if columns else action
    if on_sqlite():
        refuse_on_sqlite(table, name, doing)
        return
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {doing} ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION registry_refuse_change()"
    )


def refuse_on_sqlite(table: str, name: str, doing: str, when: str = "") -> None:
    op.execute(
        f"CREATE TRIGGER {name} BEFORE {doing} ON {table} {when} "
        f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
    )


def refuse_replacing(table: str, uniques: tuple[str, ...]) -> None:
    """`INSERT OR REPLACE` deletes without asking the trigger on DELETE."""
    same = [
        f"EXISTS (SELECT 1 FROM {table} WHERE "
        + " AND ".join(f"{column} = NEW.{column}" for column in columns.split(", "))
        + ")"
        for columns in uniques
    ]
    refuse_on_sqlite(table, f"{table}_no_replace", "INSERT", f"WHEN {' OR '.join(same)}")


def refuse_second_champion() -> None:
    """`UPDATE OR REPLACE` would delete the champion to make room for another."""
    for action in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER model_version_one_champion_{action.lower()} BEFORE {action} ON model_version "
            "WHEN NEW.state = 'champion' AND EXISTS (SELECT 1 FROM model_version WHERE state = 'champion' "
            "AND model_id = NEW.model_id AND id <> NEW.id) "
            "BEGIN SELECT RAISE(ABORT, 'unique: a model has one champion'); END"
        )
