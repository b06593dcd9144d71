"""Make the record answerable: approvals, signatures, audits, collected objects, and what each event changed.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Written out and not imported: a migration must not change when the program does.
NEW_TABLES = ("approval", "signature", "suite_audit", "collected")


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
    # would answer with the cases of other suites that share its name.
    op.drop_index("ix_case_outcome_case_id", "case_outcome")
    op.create_index("uq_case_outcome_case_id", "case_outcome", ["suite_run_id", "case_id"], unique=True)
    # The last move of one line is one step into this index, however many lines have moved since.
    op.drop_index("ix_champion_move_model_id", "champion_move")
    op.create_index("ix_champion_move_model_id", "champion_move", ["model_id", "id"])
    create_tables()
    for table in NEW_TABLES:
        protect(table)


def downgrade() -> None:
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


def protect(table: str) -> None:
    """Refuse every change of a row that is there, whoever asks."""
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
            )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION registry_refuse_change()"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()"
    )
