"""The schema revision that this program works with. A test compares it with the migration scripts."""

from __future__ import annotations

HEAD = "0002"
KNOWN = ("0001", "0002")

# Not Alembic's own `alembic_version`: MLflow keeps its revision there, and may live in the same database.
VERSION_TABLE = "registry_version"

# Rows of these tables are only ever added; triggers refuse anything else.
APPEND_ONLY = (
    "adapter",
    "approval",
    "case_outcome",
    "champion_move",
    "collected",
    "decision",
    "event",
    "example_set",
    "output_format",
    "replay_set",
    "signature",
    "suite",
    "suite_audit",
    "suite_run",
    "tool_schema",
)
