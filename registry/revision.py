"""The schema revision that this program works with. A test compares it with the migration scripts."""

from __future__ import annotations

HEAD = "0004"
KNOWN = ("0001", "0002", "0003", "0004")

# Not Alembic's own `alembic_version`: MLflow keeps its revision there, and may live in the same database.
VERSION_TABLE = "registry_version"

# Rows of these tables are only ever added; triggers refuse anything else.
APPEND_ONLY = (
    "adapter",
    "approval",
    "capacity_audit",
    "case_outcome",
    "champion_move",
    "collected",
    "decision",
    "event",
    "example_set",
    "model",
    "output_format",
    "replay_set",
    "signature",
    "suite",
    "suite_audit",
    "suite_run",
    "tool_schema",
)


def triggers(dialect: str) -> set[str]:
    """The triggers that must stand. A version changes its state, but never goes, and never moves."""
    found = {f"{table}_no_{action}" for table in APPEND_ONLY for action in ("update", "delete")}
    found |= {"model_version_no_delete", "model_version_no_move"}
    if dialect == "sqlite":
        champion = {f"model_version_one_champion_{action}" for action in ("insert", "update")}
        return found | champion | {f"{table}_no_replace" for table in (*APPEND_ONLY, "model_version")}
    return found | {f"{table}_no_truncate" for table in (*APPEND_ONLY, "model_version")}
