"""Create the record: all tables, and the triggers that keep history as it is.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Written out and not imported: a migration must not change when the program does.
APPEND_ONLY = (
    "adapter",
    "case_outcome",
    "champion_move",
    "decision",
    "event",
    "example_set",
    "output_format",
    "replay_set",
    "suite",
    "suite_run",
    "tool_schema",
)
TABLES = (
    "model",
    "tool_schema",
    "output_format",
    "example_set",
    "adapter",
    "suite",
    "replay_set",
    "model_version",
    "suite_run",
    "case_outcome",
    "decision",
    "event",
    "champion_move",
    "outbox",
    "lease",
)


def upgrade() -> None:
    create_inputs()
    create_versions()
    create_scores()
    create_history()
    create_upkeep()
    for table in APPEND_ONLY:
        protect(table)
    if not on_sqlite():
        op.create_foreign_key(
            "fk_replay_set_teacher_version_id",
            "replay_set",
            "model_version",
            ["teacher_version_id"],
            ["id"],
        )


def downgrade() -> None:
    if not on_sqlite():
        op.drop_constraint("fk_replay_set_teacher_version_id", "replay_set", type_="foreignkey")
    for left_behind in ("event_changes", "model_version_rendering_digest", "suite_run_figures"):
        op.execute(f"DROP TABLE IF EXISTS {left_behind}")  # by a later revision that was taken back
    for table in reversed(TABLES):
        op.drop_table(table)
    if not on_sqlite():
        op.execute("DROP FUNCTION registry_refuse_change()")


def on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def row_id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), nullable=False)


def words(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def when(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def values(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def key_of(table: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint("id", name=f"pk_{table}")


def refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def create_inputs() -> None:
    op.create_table(
        "model",
        row_id(),
        words("name"),
        words("base_digest"),
        words("base_source"),
        values("base_info"),
        when("created_at"),
        key_of("model"),
        unique("model", "name"),
    )
    op.create_table(
        "tool_schema",
        row_id(),
        number("model_id"),
        number("number"),
        words("document_digest"),
        words("contract_digest"),
        words("source_format"),
        number("tool_count"),
        values("change_set"),
        sa.Column("breaking", sa.Boolean(), nullable=False),
        words("note"),
        words("author"),
        when("created_at"),
        key_of("tool_schema"),
        refers("tool_schema", "model_id", "model.id"),
        unique("tool_schema", "model_id", "number"),
    )
    op.create_index("ix_tool_schema_contract", "tool_schema", ["model_id", "contract_digest"])
    op.create_table(
        "output_format",
        row_id(),
        words("name"),
        number("version"),
        values("spec"),
        words("digest"),
        when("created_at"),
        key_of("output_format"),
        unique("output_format", "name", "version"),
    )
    op.create_table(
        "example_set",
        row_id(),
        number("model_id"),
        words("object_digest"),
        number("count"),
        number("tool_schema_id", nullable=True),
        when("created_at"),
        key_of("example_set"),
        refers("example_set", "model_id", "model.id"),
        refers("example_set", "tool_schema_id", "tool_schema.id"),
    )
    op.create_index("ix_example_set_model_id", "example_set", ["model_id"])
    op.create_table(
        "adapter",
        row_id(),
        words("tree_digest"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        when("created_at"),
        key_of("adapter"),
        unique("adapter", "tree_digest"),
    )
    op.create_table(
        "suite",
        row_id(),
        number("model_id"),
        words("name"),
        number("revision"),
        words("kind"),
        words("object_digest"),
        words("suite_digest"),
        number("case_count"),
        words("metric"),
        sa.Column("higher_is_better", sa.Boolean(), nullable=False),
        number("tool_schema_id", nullable=True),
        words("note"),
        words("author"),
        when("created_at"),
        key_of("suite"),
        refers("suite", "model_id", "model.id"),
        refers("suite", "tool_schema_id", "tool_schema.id"),
        unique("suite", "model_id", "name", "revision"),
    )


def create_versions() -> None:
    # replay_set and model_version name each other. SQLite takes a key to a table that is not there yet and
    # cannot add one later; PostgreSQL is the other way round.
    teacher = refers("replay_set", "teacher_version_id", "model_version.id")
    op.create_table(
        "replay_set",
        row_id(),
        number("model_id"),
        words("object_digest"),
        number("count"),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        values("report"),
        number("teacher_version_id", nullable=True),
        when("created_at"),
        key_of("replay_set"),
        refers("replay_set", "model_id", "model.id"),
        *([teacher] if on_sqlite() else []),
    )
    op.create_index("ix_replay_set_model_id", "replay_set", ["model_id"])
    op.create_table(
        "model_version",
        row_id(),
        number("model_id"),
        number("number"),
        number("parent_id", nullable=True),
        words("state"),
        words("base_digest"),
        values("recipe", nullable=True),
        words("recipe_digest", nullable=True),
        number("tool_schema_id", nullable=True),
        number("output_format_id", nullable=True),
        number("example_set_id", nullable=True),
        number("replay_set_id", nullable=True),
        number("adapter_id", nullable=True),
        words("curves_digest", nullable=True),
        values("summary", nullable=True),
        words("note"),
        words("reason"),
        when("created_at"),
        when("finished_at", nullable=True),
        key_of("model_version"),
        refers("model_version", "model_id", "model.id"),
        refers("model_version", "parent_id", "model_version.id"),
        refers("model_version", "tool_schema_id", "tool_schema.id"),
        refers("model_version", "output_format_id", "output_format.id"),
        refers("model_version", "example_set_id", "example_set.id"),
        refers("model_version", "replay_set_id", "replay_set.id"),
        refers("model_version", "adapter_id", "adapter.id"),
        unique("model_version", "model_id", "number"),
    )
    champion = sa.text("state = 'champion'")
    op.create_index(
        "uq_model_version_champion",
        "model_version",
        ["model_id"],
        unique=True,
        sqlite_where=champion,
        postgresql_where=champion,
    )


def create_scores() -> None:
    op.create_table(
        "suite_run",
        row_id(),
        number("version_id"),
        number("suite_id"),
        words("suite_digest"),
        words("metric"),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("value", "low", "high")),
        number("n"),
        sa.Column("duration_s", sa.Float(), nullable=False),
        values("environment"),
        words("outputs_digest", nullable=True),
        when("created_at"),
        key_of("suite_run"),
        refers("suite_run", "version_id", "model_version.id"),
        refers("suite_run", "suite_id", "suite.id"),
    )
    op.create_index("ix_suite_run_version_suite", "suite_run", ["version_id", "suite_id"])
    op.create_table(
        "case_outcome",
        number("suite_run_id"),
        number("position"),
        words("case_id"),
        sa.Column("score", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("suite_run_id", "position", name="pk_case_outcome"),
        refers("case_outcome", "suite_run_id", "suite_run.id"),
    )
    op.create_index("ix_case_outcome_case_id", "case_outcome", ["case_id"])
    op.create_table(
        "decision",
        row_id(),
        number("version_id"),
        number("champion_id", nullable=True),
        words("policy_name"),
        words("policy_digest"),
        words("verdict"),
        values("reasons"),
        values("evidence"),
        values("warnings"),
        words("actor"),
        when("created_at"),
        key_of("decision"),
        refers("decision", "version_id", "model_version.id"),
        refers("decision", "champion_id", "model_version.id"),
    )
    op.create_index("ix_decision_version_id", "decision", ["version_id"])


def create_history() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        when("at"),
        words("actor"),
        words("kind"),
        words("subject"),
        number("model_id", nullable=True),
        values("payload"),
        words("prev_hash"),
        words("hash"),
        sa.PrimaryKeyConstraint("seq", name="pk_event"),
        refers("event", "model_id", "model.id"),
    )
    op.create_index("ix_event_model_id", "event", ["model_id"])
    op.create_table(
        "champion_move",
        row_id(),
        number("model_id"),
        number("version_id"),
        number("previous_id", nullable=True),
        words("cause"),
        number("decision_id", nullable=True),
        words("waiver", nullable=True),
        words("actor"),
        when("at"),
        number("event_seq"),
        key_of("champion_move"),
        refers("champion_move", "model_id", "model.id"),
        refers("champion_move", "version_id", "model_version.id"),
        refers("champion_move", "previous_id", "model_version.id"),
        refers("champion_move", "decision_id", "decision.id"),
        refers("champion_move", "event_seq", "event.seq"),
    )
    op.create_index("ix_champion_move_model_id", "champion_move", ["model_id"])


def create_upkeep() -> None:
    op.create_table(
        "outbox",
        row_id(),
        words("key"),
        words("kind"),
        values("payload"),
        number("event_seq"),
        when("created_at"),
        when("delivered_at", nullable=True),
        number("attempts"),
        words("last_error", nullable=True),
        values("result", nullable=True),
        key_of("outbox"),
        refers("outbox", "event_seq", "event.seq"),
        unique("outbox", "key"),
    )
    pending = sa.text("delivered_at IS NULL")
    op.create_index("ix_outbox_pending", "outbox", ["id"], sqlite_where=pending, postgresql_where=pending)
    # AUTOINCREMENT: the id of a released lease must never come back, or a lost one could be renewed.
    op.create_table(
        "lease",
        row_id(),
        number("model_id"),
        words("holder"),
        when("acquired_at"),
        when("heartbeat_at"),
        sa.Column("ttl_s", sa.Float(), nullable=False),
        key_of("lease"),
        refers("lease", "model_id", "model.id"),
        unique("lease", "model_id"),
        sqlite_autoincrement=True,
    )


def protect(table: str) -> None:
    """Refuse every change of a row that is there, whoever asks."""
    if on_sqlite():
        protect_on_sqlite(table)
    else:
        protect_on_postgresql(table)


def protect_on_sqlite(table: str) -> None:
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
        )
    if table == "event":  # INSERT OR REPLACE deletes without asking the trigger on DELETE
        op.execute(
            "CREATE TRIGGER event_no_replace BEFORE INSERT ON event "
            "WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq) "
            "BEGIN SELECT RAISE(ABORT, 'rows of event are never changed'); END"
        )


def protect_on_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION registry_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
    )
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION registry_refuse_change()"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()"
    )
