"""A workspace with a history, recorded through the real registry and store; only the model's work is made up.

version 1   base, champion at first
version 2   trained without replay, refused
version 3   trained with replay, champion until version 4
version 4   promoted with a waiver, then rolled back: version 3 is champion again
"""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from adaptman.config import Settings
from adaptman.evaluation.runner import CaseOutcome, summarize
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.promote import promote, rollback
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.suites import register_suite, registered_suite
from adaptman.lifecycle.workspace import Workspace
from registry.tables import Model, ModelVersion
from registry.values import Outcome
from registry.writer import Writer

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CASES = 4


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **time: float) -> None:
        self.now += timedelta(**time)


def settings(home: Path, **changes: Any) -> Settings:
    """Settings of a workspace in `home` that starts no process in the background."""
    return Settings(home=home, actor="ada@lab", auto_sync=False, **changes)


def tool(name: str, properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """A tool in OpenAI's chat form."""
    parameters = {"type": "object", "properties": dict(properties), "required": list(required)}
    return {
        "type": "function",
        "function": {"name": name, "description": f"The tool {name}.", "parameters": parameters},
    }


TEXT = {"type": "string"}
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit", "kelvin"]}
FIRST_TOOLS = [
    tool("get_weather", {"city": TEXT, "unit": UNIT}, ["city"]),
    tool("send_mail", {"to": TEXT, "body": TEXT}, ["to"]),
    tool("search_flights", {"origin": TEXT, "destination": TEXT}, ["origin", "destination"]),
]
SECOND_TOOLS = [
    tool("get_weather", {"city": TEXT, "unit": {**UNIT, "enum": ["celsius", "kelvin"]}}, ["city", "unit"]),
    tool("send_mail", {"to": TEXT, "body": TEXT}, ["to"]),
    tool("find_flights", {"origin": TEXT, "destination": TEXT}, ["origin", "destination"]),
]


def document(tools: Sequence[Mapping[str, Any]]) -> bytes:
    """A tool document as an author would save it."""
    return json.dumps(list(tools), indent=2).encode()


def suite_lines(kind: str, *, salt: str = "") -> bytes:
    """Four cases of a kind."""
    return b"".join(json.dumps(_case(kind, at, salt)).encode() + b"\n" for at in range(CASES))


def _case(kind: str, at: int, salt: str) -> dict[str, Any]:
    case: dict[str, Any] = {
        "id": f"{kind}-{at}",
        "messages": [{"role": "user", "content": f"Question {at}{salt}?"}],
    }
    if kind == "drift":
        case["messages"].append({"role": "assistant", "content": f"Answer {at}{salt}."})
    elif kind == "general":
        case["answers"] = [f"answer {at}"]
    elif kind == "custom":
        case["check"] = {"contains": f"answer {at}"}
    else:
        case["tools"] = [FIRST_TOOLS[0]]
    if kind in {"target", "tools", "context"}:
        case["accept"] = [{"name": "get_weather", "arguments": {"city": ["Paris"], "unit": ["celsius", ""]}}]
    return case


SUITES = {"new-tools": "target", "general": "general", "irrelevance": "irrelevance", "drift": "drift"}

# suite: version → (value, low, high)
SCORES: dict[str, dict[int, tuple[float, float, float]]] = {
    "new-tools": {1: (0.0, 0.0, 0.07), 2: (0.71, 0.57, 0.82), 3: (0.65, 0.5, 0.77), 4: (0.69, 0.55, 0.8)},
    "general": {1: (0.84, 0.77, 0.9), 2: (0.06, 0.03, 0.12), 3: (0.83, 0.75, 0.89), 4: (0.72, 0.63, 0.79)},
    "irrelevance": {1: (1.0, 0.9, 1.0), 2: (0.4, 0.26, 0.56), 3: (0.95, 0.83, 0.99)},
    "drift": {1: (1.21, 1.1, 1.32), 2: (4.05, 3.6, 4.5), 3: (1.23, 1.12, 1.34), 4: (1.31, 1.2, 1.42)},
}

REFUSED = [
    {
        "suite": "new-tools",
        "rule": "cases",
        "passed": True,
        "text": "new-tools: 48 cases, at least 24 needed: enough",
    },
    {
        "suite": "new-tools",
        "rule": "gain",
        "passed": True,
        "text": "new-tools: 0.00 → 0.71, difference 0.71 (95 % 0.56 … 0.82), gain 0.05: improvement shown",
    },
    {
        "suite": "general",
        "rule": "margin",
        "passed": False,
        "text": "general: 0.84 → 0.06, difference −0.78 (95 % −0.85 … −0.68), margin −0.08: "
        "not shown to be non-inferior",
    },
]
PASSED = [{**reason, "passed": True} for reason in REFUSED[:2]]


@dataclass
class Story:
    """The workspace, its clock, and the steps that fill it."""

    workspace: Workspace
    clock: Clock
    model: Model
    fmt: int = 0
    suites: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, home: Path) -> Story:
        """A new workspace with a base model as version 1."""
        clock = Clock()
        workspace = Workspace.create(settings(home), clock=clock)
        base = workspace.store.put_tree(
            _files(home.parent / "base", {"config.json": '{"model_type": "llama"}'})
        )

        def record(writer: Writer) -> Model:
            model = writer.add_model("default", base, "smollm2-135m-instruct", {"parameters": 134_515_008})
            writer.add_base_version(model.id, base_digest=base)
            return model

        return cls(workspace, clock, workspace.registry.write(record))

    @classmethod
    def copy(cls, template: Story, folder: Path) -> Story:
        """The same story in another folder, for a test to spoil."""
        shutil.copytree(template.workspace.settings.home.parent, folder, dirs_exist_ok=True)
        clock = Clock(template.clock.now)
        workspace = Workspace.open(settings(folder / "home"), clock=clock)
        return cls(workspace, clock, template.model, template.fmt, dict(template.suites))

    def register(self) -> None:
        """A tool document, the output format, and suites of four kinds."""
        self.clock.forward(minutes=5)
        register_schema(self.workspace, document(FIRST_TOOLS), "tools.json", note="first tools")
        self.fmt = self.workspace.registry.write(
            lambda writer: writer.add_output_format("hermes", 1, {"open": "<tool_call>"}, "f" * 64).id
        )
        for name, kind in SUITES.items():
            self.suite(name, kind)

    def suite(self, name: str, kind: str, *, salt: str = "") -> None:
        """Register a suite; another salt makes another revision."""
        done = register_suite(
            self.workspace,
            suite_lines(kind, salt=salt),
            name=name,
            kind=SuiteKind(kind),
            origin=f"{name}.jsonl",
        )
        self.suites[name] = done.row.id

    def train(self, number: int, *, parent: int, replay: bool, note: str) -> None:
        """Version `number`, made from `parent` on the newest tool document."""
        self.clock.forward(hours=1)
        text = json.dumps({"r": 16, "version": number})
        folder = _files(
            self.workspace.settings.home.parent / f"adapter-{number}", {"adapter_config.json": text}
        )
        tree = self.workspace.store.put_tree(folder)
        self.workspace.registry.write(lambda writer: self._record(writer, number, parent, replay, note, tree))

    def _record(self, writer: Writer, number: int, parent: int, replay: bool, note: str, tree: str) -> None:
        recipe = {"steps": 36, "replay": {"kind": "self" if replay else "none"}, "learning_rate": 2e-4}
        schema = writer.latest_tool_schema(self.model.id)
        assert schema is not None
        examples = writer.add_example_set(
            self.model.id, object_digest="e" * 64, count=96, tool_schema_id=schema.id
        )
        version = writer.start_version(
            self.model.id,
            parent_id=writer.version(self.model.id, parent).id,
            base_digest=self.model.base_digest,
            recipe=recipe,
            recipe_digest=f"{number}" * 64,
            tool_schema_id=schema.id,
            output_format_id=self.fmt,
            example_set_id=examples.id,
            note=note,
        )
        assert version.number == number
        writer.finish_training(
            version.id,
            adapter_id=writer.add_adapter(tree_digest=tree, size_bytes=9_782_000).id,
            replay_set_id=self._replay(writer, version) if replay else None,
            curves_digest="c" * 64,
            summary={"minutes": 3.5},
        )

    def _replay(self, writer: Writer, version: ModelVersion) -> int:
        made = writer.add_replay_set(
            self.model.id,
            object_digest=f"{version.number}a" * 32,
            count=96,
            tokens=5120,
            report={"distinct_2": 0.83, "tools": {"read_mail": 0, "send_mail": 7}},
            teacher_version_id=version.parent_id,
        )
        return made.id

    def score(self, number: int, scores: Mapping[str, tuple[float, float, float]]) -> None:
        """Suite runs of version `number`."""
        self.clock.forward(minutes=3)

        def record(writer: Writer) -> None:
            version = writer.version(self.model.id, number)
            for suite, (value, low, high) in scores.items():
                self._score_one(writer, version, suite, value, low, high)

        self.workspace.registry.write(record)

    def _score_one(
        self, writer: Writer, version: ModelVersion, suite: str, value: float, low: float, high: float
    ) -> None:
        row = writer.suite_by_id(self.suites[suite])
        writer.record_suite_run(
            version.id,
            row.id,
            metric=row.metric,
            value=value,
            low=low,
            high=high,
            n=CASES,
            duration_s=12.5,
            environment={"python": "3.11"},
            outcomes=[Outcome(f"{row.kind}-{at}", value) for at in range(CASES)],
            outputs_digest=None,
        )

    def answer(self, number: int, suite: str, scores: Mapping[int, float]) -> str:
        """A suite run of version `number` with outputs, by place of the case; the digest of the outputs."""
        found = registered_suite(self.workspace, suite)
        outcomes = [
            CaseOutcome(f"{found.row.kind}-{at}", score, f"v{number} on {at}", "" if score else f"not {at}")
            for at, score in scores.items()
        ]
        result = summarize(found.suite, outcomes, duration_s=1.0)
        digest = self.workspace.store.put_bytes(json.dumps(result.to_dict()).encode())

        def record(writer: Writer) -> None:
            writer.record_suite_run(
                writer.version(self.model.id, number).id, found.row.id, metric=result.metric,
                value=result.value, low=result.low, high=result.high, n=result.n, duration_s=1.0,
                environment={}, outputs_digest=digest,
                outcomes=[Outcome(one.case_id, one.score) for one in outcomes],
            )  # fmt: skip

        self.workspace.registry.write(record)
        return digest

    def judge(self, number: int, *, passed: bool) -> None:
        """The gate's decision on version `number`, against today's champion."""

        def record(writer: Writer) -> None:
            version = writer.version(self.model.id, number)
            champion = writer.champion(self.model.id)
            writer.mark_evaluated(version.id)
            writer.record_decision(
                version.id,
                champion_id=champion.id if champion else None,
                policy_name="default",
                policy_digest="d" * 64,
                verdict="pass" if passed else "refuse",
                reasons=PASSED if passed else REFUSED,
                evidence=[],
                warnings=[]
                if passed
                else ["drift: the policy has no rule for kind drift: shown, not judged"],
            )

        self.workspace.registry.write(record)

    def tell(self) -> None:
        """The whole story."""
        self.register()
        self.score(1, _scores(1))
        self.train(2, parent=1, replay=False, note="no replay")
        self.score(2, _scores(2))
        self.judge(2, passed=False)
        self.train(3, parent=1, replay=True, note="first tools")
        self.score(3, _scores(3))
        self.judge(3, passed=True)
        promote(self.workspace, 3)
        register_schema(
            self.workspace, document(SECOND_TOOLS), "tools-2.json", note="kelvin, and flights renamed"
        )
        self.train(4, parent=3, replay=True, note="more mail")
        self.score(4, _scores(4))
        self.judge(4, passed=False)
        self.clock.forward(minutes=10)
        promote(self.workspace, 4, waiver="the mail tool is needed today")
        self.clock.forward(minutes=10)
        rollback(self.workspace)


def _scores(version: int) -> dict[str, tuple[float, float, float]]:
    return {suite: by_version[version] for suite, by_version in SCORES.items() if version in by_version}


def _files(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


class Templates(NamedTuple):
    """Both stories, for `Story.copy`."""

    begun: Story
    told: Story


@cache
def templates() -> Templates:
    """Told once in each process; recording the whole story syncs the disk a hundred times."""
    root = Path(tempfile.mkdtemp(prefix="adaptman-stories-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    begun, told = Story.begin(root / "begun" / "home"), Story.begin(root / "told" / "home")
    told.tell()
    begun.workspace.close()
    told.workspace.close()
    return Templates(begun, told)
