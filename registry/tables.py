"""The tables, one class each. Only the migrations create them; `registry.migrate.check` compares the two.

A digest is a sha256 in hexadecimal and names an object in the content-addressed store. Times are in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from registry.columns import StateColumn, UTCDateTime, Words
from registry.states import VersionState

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Record(SQLModel):
    """What all tables share: metadata of their own, so that nobody else's tables are mixed in."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


class Model(Record, table=True):
    """A named line of one continually updated model."""

    __tablename__ = "model"
    id: int = Field(default=None, primary_key=True)
    name: str = Field(sa_type=Words, unique=True)
    base_digest: str = Field(sa_type=Words)
    base_source: str = Field(sa_type=Words)
    base_info: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = Field(sa_type=UTCDateTime)


class ToolSchema(Record, table=True):
    """One registered tool document: `document_digest` names its bytes, `contract_digest` its meaning."""

    __tablename__ = "tool_schema"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        Index("ix_tool_schema_contract", "model_id", "contract_digest"),
    )
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id")
    number: int
    document_digest: str = Field(sa_type=Words)
    contract_digest: str = Field(sa_type=Words)
    source_format: str = Field(sa_type=Words)
    tool_count: int
    change_set: dict[str, Any] = Field(sa_type=JSON)
    breaking: bool
    note: str = Field(default="", sa_type=Words)
    author: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)


class OutputFormatRow(Record, table=True):
    """How a call is written: name, version and specification."""

    __tablename__ = "output_format"
    __table_args__ = (UniqueConstraint("name", "version"),)
    id: int = Field(default=None, primary_key=True)
    name: str = Field(sa_type=Words)
    version: int
    spec: dict[str, Any] = Field(sa_type=JSON)
    digest: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)


class ExampleSet(Record, table=True):
    """Training examples for one tool document."""

    __tablename__ = "example_set"
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id", index=True)
    object_digest: str = Field(sa_type=Words)
    count: int
    tool_schema_id: int | None = Field(default=None, foreign_key="tool_schema.id")
    created_at: datetime = Field(sa_type=UTCDateTime)


class ReplaySet(Record, table=True):
    """Samples that a version of the model wrote itself, to be learned again beside the new examples."""

    __tablename__ = "replay_set"
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id", index=True)
    object_digest: str = Field(sa_type=Words)
    count: int
    tokens: int = Field(sa_type=BigInteger)
    report: dict[str, Any] = Field(sa_type=JSON)
    # The two tables name each other, so this key is added after both exist.
    teacher_version_id: int | None = Field(
        default=None, sa_column_args=[ForeignKey("model_version.id", use_alter=True)]
    )
    created_at: datetime = Field(sa_type=UTCDateTime)


class Adapter(Record, table=True):
    """The files of a trained adapter, named by the digest of their manifest."""

    __tablename__ = "adapter"
    id: int = Field(default=None, primary_key=True)
    tree_digest: str = Field(sa_type=Words, unique=True)
    size_bytes: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=UTCDateTime)


class Suite(Record, table=True):
    """One revision of a suite; the newest revision of a name is the active one."""

    __tablename__ = "suite"
    __table_args__ = (UniqueConstraint("model_id", "name", "revision"),)
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id")
    name: str = Field(sa_type=Words)
    revision: int
    kind: str = Field(sa_type=Words)
    object_digest: str = Field(sa_type=Words)
    suite_digest: str = Field(sa_type=Words)
    case_count: int
    metric: str = Field(sa_type=Words)
    higher_is_better: bool
    tool_schema_id: int | None = Field(default=None, foreign_key="tool_schema.id")
    """The tool schema whose update the suite asks about; None for a suite that every version is judged by."""
    note: str = Field(default="", sa_type=Words)
    author: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)


class ModelVersion(Record, table=True):
    """One version of a model line. A base version has no recipe, no adapter and no parent.

    `base_digest` is the checkpoint under its adapter; without an adapter, the checkpoint that it is itself.
    """

    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        # The database itself refuses a second champion.
        Index(
            "uq_model_version_champion",
            "model_id",
            unique=True,
            sqlite_where=text("state = 'champion'"),
            postgresql_where=text("state = 'champion'"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id")
    number: int
    parent_id: int | None = Field(default=None, foreign_key="model_version.id")
    state: VersionState = Field(sa_type=StateColumn)
    base_digest: str = Field(sa_type=Words)
    recipe: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    recipe_digest: str | None = Field(default=None, sa_type=Words)
    tool_schema_id: int | None = Field(default=None, foreign_key="tool_schema.id")
    output_format_id: int | None = Field(default=None, foreign_key="output_format.id")
    example_set_id: int | None = Field(default=None, foreign_key="example_set.id")
    replay_set_id: int | None = Field(default=None, foreign_key="replay_set.id")
    adapter_id: int | None = Field(default=None, foreign_key="adapter.id")
    curves_digest: str | None = Field(default=None, sa_type=Words)
    rendering_digest: str | None = Field(default=None, sa_type=Words)
    """The text that it was trained to read, an object of the store; None for the base and what is older."""
    summary: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    note: str = Field(default="", sa_type=Words)
    author: str = Field(default="", sa_type=Words)
    """Who began it; "" where nobody can tell any more."""
    reason: str = Field(default="", sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UTCDateTime)

    @property
    def has_own_checkpoint(self) -> bool:
        """Whether its weights are a checkpoint that was made for it, in place of an adapter."""
        made = self.parent_id is not None and self.finished_at is not None
        return made and self.adapter_id is None

    @property
    def is_folded(self) -> bool:
        """Whether it was made by a fold, and not by training."""
        return self.has_own_checkpoint and self.recipe is None


class SuiteRun(Record, table=True):
    """One scoring of a version on a suite: the metric with its 95 % interval over `n` cases."""

    __tablename__ = "suite_run"
    __table_args__ = (Index("ix_suite_run_version_suite", "version_id", "suite_id"),)
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id")
    suite_id: int = Field(foreign_key="suite.id")
    suite_digest: str = Field(sa_type=Words)
    metric: str = Field(sa_type=Words)
    value: float
    low: float
    high: float
    n: int
    duration_s: float
    complete: bool = Field(default=True)
    """False where the evaluation ended early, because no answer to come could change the verdict."""
    cache_key: str | None = Field(default=None, sa_type=Words, index=True)
    """Names model, suite, output format and generation settings: equal keys mean equal answers."""
    environment: dict[str, Any] = Field(sa_type=JSON)
    outputs_digest: str | None = Field(default=None, sa_type=Words)
    figures: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """What the answers show beside the metric: `{"stale": {rule: [stale calls, cases]}}`."""
    created_at: datetime = Field(sa_type=UTCDateTime)


class CaseOutcome(Record, table=True):
    """The score of one case in one run, in the order of the suite."""

    __tablename__ = "case_outcome"
    __table_args__ = (Index("uq_case_outcome_case_id", "suite_run_id", "case_id", unique=True),)
    suite_run_id: int = Field(foreign_key="suite_run.id", primary_key=True)
    position: int = Field(primary_key=True)
    case_id: str = Field(sa_type=Words)
    score: float


class DecisionRow(Record, table=True):
    """What the gate said about a version, against which champion, under which policy."""

    __tablename__ = "decision"
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    champion_id: int | None = Field(default=None, foreign_key="model_version.id")
    policy_name: str = Field(sa_type=Words)
    policy_digest: str = Field(sa_type=Words)
    policy: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """The whole policy, so that it can be asked again; None in rows older than this column."""
    verdict: str = Field(sa_type=Words)
    reasons: list[Any] = Field(sa_type=JSON)
    evidence: Any = Field(sa_type=JSON)
    warnings: list[Any] = Field(sa_type=JSON)
    actor: str = Field(sa_type=Words)
    created_at: datetime = Field(sa_type=UTCDateTime)


class EventRow(Record, table=True):
    """One thing that happened. Rows are only ever added; each names the hash of the one before."""

    __tablename__ = "event"
    seq: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    at: datetime = Field(sa_type=UTCDateTime)
    actor: str = Field(sa_type=Words)
    kind: str = Field(sa_type=Words)
    subject: str = Field(sa_type=Words)
    model_id: int | None = Field(default=None, foreign_key="model.id", index=True)
    payload: dict[str, Any] = Field(sa_type=JSON)
    changes: list[Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """The rows that were written with it; None in events older than this column."""
    prev_hash: str = Field(sa_type=Words)
    hash: str = Field(sa_type=Words)


class ChampionMove(Record, table=True):
    """The alias moved: `version_id` became champion in place of `previous_id`."""

    __tablename__ = "champion_move"
    __table_args__ = (Index("ix_champion_move_model_id", "model_id", "id"),)  # the last one is asked for
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id")
    version_id: int = Field(foreign_key="model_version.id")
    previous_id: int | None = Field(default=None, foreign_key="model_version.id")
    cause: str = Field(sa_type=Words)
    decision_id: int | None = Field(default=None, foreign_key="decision.id")
    waiver: str | None = Field(default=None, sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class Approval(Record, table=True):
    """Somebody looked at a decision about a version and agreed."""

    __tablename__ = "approval"
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    decision_id: int = Field(foreign_key="decision.id")
    note: str = Field(sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class Signature(Record, table=True):
    """A signature over a version's manifest; `envelope` is the signed text, `key_id` names the public key."""

    __tablename__ = "signature"
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    key_id: str = Field(sa_type=Words)
    envelope: str = Field(sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class SuiteAudit(Record, table=True):
    """A version answered a suite several times; `flaky` names the cases on which it disagreed with itself."""

    __tablename__ = "suite_audit"
    id: int = Field(default=None, primary_key=True)
    suite_id: int = Field(foreign_key="suite.id", index=True)
    version_id: int = Field(foreign_key="model_version.id")
    suite_digest: str = Field(sa_type=Words)
    runs: int
    cases: int
    flaky: list[Any] = Field(sa_type=JSON)
    report_digest: str | None = Field(default=None, sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class CapacityAudit(Record, table=True):
    """What a version can still take in: the bits before its drift is too large, with a 95 % interval."""

    __tablename__ = "capacity_audit"
    id: int = Field(default=None, primary_key=True)
    version_id: int = Field(foreign_key="model_version.id", index=True)
    verdict: str = Field(sa_type=Words)
    room_bits: float
    low: float
    high: float
    report_digest: str = Field(sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class Collected(Record, table=True):
    """An object that was taken out of the store, and by which rule."""

    __tablename__ = "collected"
    id: int = Field(default=None, primary_key=True)
    object_digest: str = Field(sa_type=Words, index=True)
    size_bytes: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Words)
    actor: str = Field(sa_type=Words)
    at: datetime = Field(sa_type=UTCDateTime)
    event_seq: int = Field(foreign_key="event.seq")


class OutboxRow(Record, table=True):
    """What MLflow must still be told; `key` makes a second delivery harmless."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_pending",
            "id",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
    )
    id: int = Field(default=None, primary_key=True)
    key: str = Field(sa_type=Words, unique=True)
    kind: str = Field(sa_type=Words)
    payload: dict[str, Any] = Field(sa_type=JSON)
    event_seq: int = Field(foreign_key="event.seq")
    created_at: datetime = Field(sa_type=UTCDateTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    attempts: int = 0
    last_error: str | None = Field(default=None, sa_type=Words)
    result: dict[str, Any] | None = Field(default=None, sa_type=JSON(none_as_null=True))


class Lease(Record, table=True):
    """Who works on a model line now. An id is never used twice, so a lost lease cannot be renewed."""

    __tablename__ = "lease"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: int = Field(default=None, primary_key=True)
    model_id: int = Field(foreign_key="model.id", unique=True)
    holder: str = Field(sa_type=Words)
    acquired_at: datetime = Field(sa_type=UTCDateTime)
    heartbeat_at: datetime = Field(sa_type=UTCDateTime)
    ttl_s: float
