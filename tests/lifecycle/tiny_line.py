"""A model line on a checkpoint that trains in a moment; registry, store and training are the real ones."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from adaptman.evaluation.suites import SuiteKind
from adaptman.learning.capacity import Ladder
from adaptman.lifecycle.init import initialise
from adaptman.lifecycle.plan import UpdatePlan, UpdateRequest, make_plan
from adaptman.lifecycle.progress import Progress
from adaptman.lifecycle.promote import promote
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.suites import register_suite
from adaptman.lifecycle.update import Update, run_update
from adaptman.lifecycle.workspace import Workspace
from registry.tables import ModelVersion
from registry.writer_objects import Leaving
from tests.learning.tiny import make_tiny_checkpoint
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, Clock, document, settings, suite_lines

RECIPE = {
    "steps": "4",
    "batch_size": "2",
    "checkpoint_every": "1",
    "max_length": "4096",
    "lora.rank": "2",
    "lora.targets": '["q_proj", "down_proj"]',
    "replay.samples": "4",
    "replay.batch_size": "2",
    "replay.max_tokens": "8",
    "replay.top_k": "4",
}
RECIPE_WORDS = [word for name, value in RECIPE.items() for word in ("--set", f"{name}={value}")]
"""The same at a terminal."""
CANDIDATE = 2
SMALL_LADDER = Ladder(loads=(2, 4), presentations=2, steps=3, rank=2, samples=6, held_out=4, sample_tokens=6)
"""An audit of capacity that takes a moment."""


def example(
    name: str, tools: Sequence[Mapping[str, Any]], tool: str, arguments: Mapping[str, Any], asked: str
) -> dict[str, Any]:
    """A training example: one question, answered with one call."""
    call = {"type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
    return {
        "id": name,
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": list(tools),
    }


def declining(example: Mapping[str, Any]) -> dict[str, Any]:
    """The example with an answer in words instead."""
    answer = {"role": "assistant", "content": "None of my tools can do that."}
    return {**example, "messages": [*example["messages"][:-1], answer]}


FIRST_EXAMPLES = [
    example("rome", FIRST_TOOLS[:1], "get_weather", {"city": "Rome"}, "Weather in Rome?"),
    example("oslo", FIRST_TOOLS[:1], "get_weather", {"city": "Oslo", "unit": "kelvin"}, "Oslo in kelvin?"),
    example("mail", FIRST_TOOLS[1:2], "send_mail", {"to": "ada@lab"}, "Write to Ada."),
]
SECOND_EXAMPLES = [
    example("bern", SECOND_TOOLS[:1], "get_weather", {"city": "Bern", "unit": "kelvin"}, "Bern in kelvin?"),
    example(
        "fly",
        SECOND_TOOLS[2:],
        "find_flights",
        {"origin": "OSL", "destination": "FCO"},
        "Fly from Oslo to Rome.",
    ),
]


def lines(examples: Sequence[Mapping[str, Any]]) -> str:
    """JSONL."""
    return "".join(json.dumps(one) + "\n" for one in examples)


class Killed(KeyboardInterrupt):
    """Ctrl-C, told apart from the one of whoever runs the tests."""


@dataclass
class Recorder:
    """A `Progress` that keeps what it was told, and dies at the `after`-th advance of the phase `kill`."""

    kill: str = ""
    after: int = 1
    phases: list[str] = field(default_factory=list)
    advances: dict[str, int] = field(default_factory=dict)
    on_advance: Callable[[str, int], None] = lambda phase, count: None

    def start(self, phase: str, total: int) -> None:
        self.phases.append(phase)

    def advance(self, units: int, note: str = "") -> None:
        phase = self.phases[-1]
        self.advances[phase] = self.advances.get(phase, 0) + 1
        self.on_advance(phase, self.advances[phase])
        if phase == self.kill and self.advances[phase] == self.after:
            raise Killed

    def finish(self, note: str = "") -> None:
        """Nothing to keep."""


@dataclass
class TinyLine:
    """A workspace with a tiny model as version 1."""

    workspace: Workspace
    clock: Clock

    @property
    def folder(self) -> Path:
        return self.workspace.settings.home.parent

    @classmethod
    def begin(cls, folder: Path, **changes: Any) -> TinyLine:
        """Version 1 only."""
        make_tiny_checkpoint(folder / "tiny")
        clock = Clock()
        initialise(settings(folder / "home", **changes), base=str(folder / "tiny"), clock=clock)
        return cls.at(folder, clock, **changes)

    @classmethod
    def at(cls, folder: Path, clock: Clock, **changes: Any) -> TinyLine:
        """The line that stands in `folder`."""
        return cls(Workspace.open(settings(folder / "home", **changes), clock=clock), clock)

    @classmethod
    def copy(cls, template: TinyLine, folder: Path, **changes: Any) -> TinyLine:
        """The same line in another folder, for a test to spoil."""
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        return cls.at(folder, Clock(template.clock.now), **changes)

    def fill_without_suites(self) -> None:
        """The first tool document and its examples."""
        register_schema(self.workspace, document(FIRST_TOOLS), "tools.json")
        (self.folder / "examples.jsonl").write_text(lines(FIRST_EXAMPLES))

    def fill(self) -> None:
        """The first tool document, its examples and two suites."""
        self.fill_without_suites()
        self.suite("new-tools", "target")
        self.suite("general", "general")

    def suite(self, name: str, kind: str, *, salt: str = "") -> None:
        """Register a suite of four cases."""
        data = suite_lines(kind, salt=salt)
        register_suite(self.workspace, data, name=name, kind=SuiteKind(kind), origin=f"{name}.jsonl")

    def request(self, schema: int = 1, **recipe: str) -> UpdateRequest:
        """The update to a schema; `recipe` replaces settings, `__` standing for the dot."""
        values = RECIPE | {name.replace("__", "."): value for name, value in recipe.items()}
        examples = "examples.jsonl" if schema == 1 else "examples-2.jsonl"
        return UpdateRequest(schema, self.folder / examples, settings=values)

    def plan(self, schema: int = 1, **recipe: str) -> UpdatePlan:
        return make_plan(self.workspace, self.request(schema, **recipe))

    def update(self, schema: int = 1, *, progress: Progress | None = None, **recipe: str) -> Update:
        """Plan and run."""
        return run_update(self.workspace, self.plan(schema, **recipe), progress=progress)

    def second_tools(self) -> None:
        """Version 2 becomes champion, and the tools change."""
        promote(self.workspace, CANDIDATE, waiver="for the second update")
        register_schema(self.workspace, document(SECOND_TOOLS), "tools-2.json")
        (self.folder / "examples-2.jsonl").write_text(lines(SECOND_EXAMPLES))

    def versions(self) -> list[ModelVersion]:
        with self.workspace.registry.read() as reader:
            return reader.versions(self.workspace.model_row().id)

    def version(self, number: int = CANDIDATE) -> ModelVersion:
        return self.versions()[number - 1]

    def adapter(self, number: int = CANDIDATE) -> str:
        """The digest of a version's adapter."""
        with self.workspace.registry.read() as reader:
            return reader.adapter(self.version(number).adapter_id or 0).tree_digest

    def replay_digest(self, number: int = CANDIDATE) -> str:
        """The digest of the samples that a version was trained beside."""
        with self.workspace.registry.read() as reader:
            return reader.replay_set(self.version(number).replay_set_id or 0).object_digest

    def collect(self, *digests: str) -> None:
        """40 days later gc records that it has removed these objects; their files stay."""
        gone = [Leaving(digest, 1, "refused for 30 days") for digest in digests]
        self.clock.forward(days=40)
        self.workspace.registry.write(lambda w: w.collect(gone, policy_name="p", policy_digest="d" * 64))

    def damage(self, tree: str, name: str) -> None:
        """Flip one byte of a stored file."""
        store = self.workspace.store
        path = store.path_of(store.tree(tree)[name].sha256)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)

    def events(self) -> list[str]:
        with self.workspace.registry.read() as reader:
            return [event.kind for event in reader.events()]

    def held_by(self) -> list[str]:
        with self.workspace.registry.read() as reader:
            return [lease.holder for lease in reader.leases()]


class TinyLines(NamedTuple):
    """Templates for `TinyLine.copy`, and the adapter that an undisturbed first update ends in."""

    begun: TinyLine
    filled: TinyLine
    updated: TinyLine
    digest: str


@cache
def tiny_lines() -> TinyLines:
    """Made once in each process."""
    import torch

    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="adaptman-tiny-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    begun = TinyLine.begin(root / "begun")
    filled = TinyLine.copy(begun, root / "filled")
    filled.fill()
    updated = TinyLine.copy(filled, root / "updated")
    updated.update()
    for line in (begun, filled, updated):
        line.workspace.close()
    digest = updated.adapter()
    updated.workspace.close()
    return TinyLines(begun, filled, updated, digest)
