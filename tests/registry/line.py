"""A model line to test with: a clock that ticks, and the shortest way to each state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from registry.reader import Reader
from registry.registry import Registry
from registry.tables import CapacityAudit, DecisionRow, ModelVersion, Suite, SuiteRun, ToolSchema
from registry.values import Outcome, Promotion
from registry.writer import Writer
from registry.writer_objects import Leaving

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Each reading is a second after the one before; `forward` skips ahead."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def digest(text: str) -> str:
    """Something that looks like a digest."""
    return text.encode().hex().ljust(64, "0")[:64]


def start(writer: Writer, model_id: int, **changes: Any) -> ModelVersion:
    """A version in training, from the champion."""
    champion = writer.champion(model_id)
    values: dict[str, Any] = {
        "parent_id": champion.id if champion else None,
        "base_digest": digest("base"),
        "recipe": {"rank": 8, "learning_rate": 1e-4},
        "recipe_digest": digest("recipe"),
        "tool_schema_id": None,
        "output_format_id": None,
        "example_set_id": None,
    }
    return writer.start_version(model_id, **{**values, **changes})


def finish(writer: Writer, version: ModelVersion, **changes: Any) -> ModelVersion:
    """Training is over."""
    adapter = writer.add_adapter(tree_digest=digest(f"adapter {version.id}"), size_bytes=3_000_000_000)
    values: dict[str, Any] = {
        "adapter_id": adapter.id,
        "replay_set_id": None,
        "curves_digest": digest("curves"),
        "summary": {"loss": 0.25},
        "rendering_digest": digest("rendering"),
    }
    return writer.finish_training(version.id, **{**values, **changes})


def judge(writer: Writer, version: ModelVersion, verdict: str = "pass", **changes: Any) -> DecisionRow:
    """Evaluated and judged against today's champion."""
    champion = writer.champion(version.model_id)
    writer.mark_evaluated(version.id)
    values: dict[str, Any] = {
        "champion_id": champion.id if champion else None,
        "policy_name": "default",
        "policy_digest": digest("policy"),
        "verdict": verdict,
        "reasons": [{"suite": "general", "passed": verdict == "pass", "text": "general: 0.90"}],
        "evidence": {"general": {"difference": -0.01}},
        "warnings": [],
    }
    return writer.record_decision(version.id, **{**values, **changes})


def judged(writer: Writer, model_id: int, verdict: str = "pass") -> ModelVersion:
    """A version that the gate has spoken about."""
    version = finish(writer, start(writer, model_id))
    judge(writer, version, verdict)
    return version


def add_suite(writer: Writer, model_id: int, name: str = "general", **changes: Any) -> Suite:
    """A suite of two cases."""
    values: dict[str, Any] = {
        "kind": "general",
        "object_digest": digest(f"object {name}"),
        "suite_digest": digest(f"suite {name}"),
        "case_count": 2,
        "metric": "accuracy",
        "higher_is_better": True,
    }
    return writer.add_suite(model_id, name=name, **{**values, **changes}).row


def score(
    writer: Writer, version: ModelVersion, suite: Suite, outcomes: Sequence[Outcome] = (), **changes: Any
) -> SuiteRun:
    """One run of the version on the suite."""
    outcomes = outcomes or [Outcome("first", 1.0), Outcome("second", 0.0)]
    values: dict[str, Any] = {
        "metric": suite.metric,
        "value": sum(one.score for one in outcomes) / len(outcomes),
        "low": 0.1,
        "high": 0.9,
        "n": len(outcomes),
        "duration_s": 1.5,
        "environment": {"torch": "2.13.0"},
        "outcomes": outcomes,
        "outputs_digest": digest("outputs"),
        "figures": {"stale": {"tool-renamed": [2, 24]}},
    }
    return writer.record_suite_run(version.id, suite.id, **{**values, **changes})


def fill(writer: Writer, model_id: int) -> ModelVersion:
    """At least one row in every table that keeps history; the version that was made from them."""
    schema = add_schema(writer, model_id)
    examples = writer.add_example_set(
        model_id, object_digest=digest("examples"), count=20, tool_schema_id=schema.id
    )
    champion = writer.champion(model_id)
    replay = writer.add_replay_set(
        model_id,
        object_digest=digest("replay"),
        count=40,
        tokens=9_000,
        report={"kept": 40, "thrown_away": 3},
        teacher_version_id=champion.id if champion else None,
    )
    form = writer.add_output_format("hermes", 1, {"call": "<tool_call>"}, digest("hermes"))
    named = {"tool_schema_id": schema.id, "output_format_id": form.id, "example_set_id": examples.id}
    version = finish(writer, start(writer, model_id, **named), replay_set_id=replay.id)
    suite = add_suite(writer, model_id)
    score(writer, version, suite)
    writer.record_suite_audit(version.id, suite.id, runs=2, flaky=["second"], report_digest=digest("report"))
    audit_capacity(writer, version)
    judge(writer, version)
    writer.approve(version.id, "looks right")
    writer.add_signature(version.id, key_id=digest("key"), envelope="{}")
    collect(writer, digest("orphan"))
    return version


def audit_capacity(writer: Writer, version: ModelVersion, **changes: Any) -> CapacityAudit:
    """An audit that found room."""
    values: dict[str, Any] = {
        "verdict": "room", "room_bits": 5_000.0, "low": 4_000.0, "high": 6_500.0,
        "figures": {"bits_16": 600.0, "drift_16": 0.01}, "report_digest": digest("capacity"),
    }  # fmt: skip
    return writer.record_capacity_audit(version.id, **(values | changes))


def collect(writer: Writer, *digests: str) -> None:
    """Record that objects are removed from the store."""
    leaving = [Leaving(one, 1_000, "named by nothing") for one in digests]
    writer.collect(leaving, policy_name="retention", policy_digest=digest("retention"))


def add_schema(writer: Writer, model_id: int, text: str = "tools", **changes: Any) -> ToolSchema:
    """A tool schema of two tools."""
    values: dict[str, Any] = {
        "document_digest": digest(f"document {text}"),
        "contract_digest": digest(f"contract {text}"),
        "source_format": "openai-chat",
        "tool_count": 2,
        "change_set": {"tools": []},
        "breaking": False,
    }
    return writer.add_tool_schema(model_id, **{**values, **changes}).row


class Line:
    """One model line whose base version is champion."""

    def __init__(self, registry: Registry, clock: Clock, name: str = "default") -> None:
        self.registry = registry
        self.clock = clock
        self.id = registry.write(lambda writer: self._begin(writer, name))

    def _begin(self, writer: Writer, name: str) -> int:
        model = writer.add_model(name, digest("base"), "SmolLM2", {"parameters": 135_000_000})
        writer.add_base_version(model.id, base_digest=digest("base"))
        return model.id

    def judged(self, verdict: str = "pass") -> ModelVersion:
        return self.registry.write(lambda writer: judged(writer, self.id, verdict))

    def promote(self, number: int, waiver: str | None = None) -> Promotion:
        return self.registry.write(lambda writer: writer.promote(self.id, number, waiver=waiver))

    def promoted(self) -> Promotion:
        return self.promote(self.judged().number)

    def rollback(self) -> Promotion:
        return self.registry.write(lambda writer: writer.rollback(self.id))

    def champion(self) -> int | None:
        with self.registry.read() as reader:
            champion = reader.champion(self.id)
            return champion.number if champion else None

    def state(self, number: int) -> str:
        with self.registry.read() as reader:
            return reader.version(self.id, number).state


def everything(reader: Reader) -> tuple[int, int, int]:
    """How many events, outbox rows and moves there are: the same before and after something that failed."""
    return (
        len(reader.events()),
        len(reader.outbox_rows()),
        sum(len(reader.moves(model.id)) for model in reader.models()),
    )
