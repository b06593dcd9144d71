"""The demo: the commands a user would type, run one after another on the embedded model, told as a story.

Each step is a real command. What is done is written down: a demo that was killed goes on where it was.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptman.artifacts.folder import remove
from adaptman.config import Settings
from adaptman.demo.data import DemoFiles, prepare
from adaptman.demo.second_update import migration_words, tool_updates
from adaptman.errors import AdaptmanError
from adaptman.lifecycle.workspace import Workspace

Run = Callable[[Sequence[str]], int]
Echo = Callable[[str], None]

WITHOUT_REPLAY = "update 1, without replay"
WITH_REPLAY = "update 1, with replay"
SECOND = "update 2, with replay"
PICTURE = "history.png"
_MARKER = "demo.json"


@dataclass(frozen=True)
class Step:
    """One command: `tell` is said before it, `args` are made when its turn has come."""

    name: str
    tell: str
    args: Callable[[], list[str]]
    exit_code: int = 0
    moves: int | None = None
    """How often the champion has moved once the step is done; None for a step that does not move it."""


@dataclass
class Story:
    """The steps with what they need: settings, files, and the way to run a command and to say something."""

    settings: Settings
    run: Run
    echo: Echo

    def play(self) -> None:
        """Run every step that is not done.

        Raises:
            AdaptmanError: a command ended otherwise than the story says, or the home folder is not ours.
        """
        home = self.settings.home
        home.mkdir(parents=True, exist_ok=True)
        if not (home / _MARKER).exists():
            _check_empty(home)
            self._write([])
        files = prepare(home / "data")
        self.echo(f"tools and requests: {files.source} (Apache-2.0), category simple_python")
        self.echo(f"files made of them: {files.folder}")
        done = self._done()
        for step in self._steps(files):
            if step.name in done or self._has_moved(step):
                continue
            self._play(step)
            done.append(step.name)
            self._write(done)

    def _play(self, step: Step) -> None:
        args = step.args()
        self.echo(
            "\n" + (f"{step.tell}\n\n" if step.tell else "") + f"$ adaptman {' '.join(map(_shown, args))}"
        )
        code = self.run(args)
        if code != step.exit_code:
            raise AdaptmanError(
                f"the demo stopped: `{step.name}` ended with exit code {code}, not {step.exit_code}",
                hint="`adaptman demo` tries this step again; `adaptman demo --fresh` starts over",
            )

    def _steps(self, files: DemoFiles) -> list[Step]:
        return [
            *self._opening(files),
            *self._first_update(files),
            *self._second_update(files),
            *self._closing(),
        ]

    def _opening(self, files: DemoFiles) -> list[Step]:
        tools = files.counts[files.tools_1.name]
        return [
            Step("init", "A workspace. The base model becomes version 1.", lambda: ["init"]),
            _schema(
                "schema-1", f"The agent gets {tools} tools, none of which the model has seen.", files.tools_1
            ),
            _suite(
                "new-tools",
                "Held-out requests for the new tools: has it learned them?",
                "target",
                files.target_1,
            ),
            _suite(
                "general", "General questions: does it still know what it knew?", "general", files.general
            ),
        ]

    def _first_update(self, files: DemoFiles) -> list[Step]:
        return [
            _update(
                "The update as one might do it: fine-tune on examples of the new calls, and nothing else.",
                1,
                files.examples_1,
                WITHOUT_REPLAY,
                {"replay.kind": "none"},
            ),
            Step(
                "refused",
                "The tools are learned, the rest is forgotten. Promote it all the same?",
                lambda: ["promote", self._number(WITHOUT_REPLAY)],
                exit_code=3,
            ),
            _update(
                "The same examples beside replay that the model writes itself. No old training data needed.",
                1,
                files.examples_1,
                WITH_REPLAY,
            ),
            Step(
                "promote-1",
                "This one may be promoted.",
                lambda: ["promote", self._number(WITH_REPLAY)],
                moves=2,
            ),
        ]

    def _second_update(self, files: DemoFiles) -> list[Step]:
        told = migration_words(tool_updates())
        return [
            _schema("schema-2", "Weeks later twelve of the tools change.", files.tools_2),
            Step(
                "examples-2",
                "What was asked of them is carried into the new form. What nobody could guess is given.",
                lambda: [
                    *("examples", "migrate", str(files.requests), "--schema", "2"),
                    *("--out", str(files.examples_2), *told),
                ],
            ),
            Step(
                "suites-2",
                "The change set makes the suites: the new form, the tools that stay, the old document shown.",
                lambda: ["suite", "generate", "--schema", "2", "--requests", str(files.held_out), *told],
            ),
            _update(
                "The champion goes on learning. Tools that stay are replayed, those that change are not.",
                2,
                files.examples_2,
                SECOND,
                {"steps": 28},
            ),
            Step("promote-2", "", lambda: ["promote", self._number(SECOND)], moves=3),
        ]

    def _closing(self) -> list[Step]:
        picture = str(self.settings.home / PICTURE)
        return [
            Step(
                "rollback",
                "Something is wrong in production? One command, at once.",
                lambda: ["rollback"],
                moves=4,
            ),
            Step(
                "forward",
                "It was not the model. A rollback is undone the same way.",
                lambda: ["rollback"],
                moves=5,
            ),
            Step(
                "verify",
                "All of it is on record, every event chained to the one before.",
                lambda: ["log", "--verify"],
            ),
            Step("lineage", "MLflow is told whatever it was not told yet.", lambda: ["lineage", "sync"]),
            Step("plot", "The history as a picture.", lambda: ["history", "--plot", picture]),
        ]

    def _number(self, note: str) -> str:
        with Workspace.open(self.settings) as workspace, workspace.registry.read() as reader:
            versions = reader.versions(reader.model(self.settings.model).id)
        return str(next(version.number for version in reversed(versions) if version.note == note))

    def _has_moved(self, step: Step) -> bool:
        """Whether a demo that died had moved the champion and could not write that down."""
        if step.moves is None:
            return False
        with Workspace.open(self.settings) as workspace, workspace.registry.read() as reader:
            return len(reader.moves(reader.model(self.settings.model).id)) >= step.moves

    def _done(self) -> list[str]:
        path = self.settings.home / _MARKER
        try:
            return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))["done"]]
        except (ValueError, KeyError, TypeError) as error:
            raise AdaptmanError(
                f"`{path}` is damaged", hint="start over with `adaptman demo --fresh`"
            ) from error

    def _write(self, done: list[str]) -> None:
        path = self.settings.home / _MARKER
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"done": done}), encoding="utf-8")
        os.replace(temporary, path)


def start_over(home: Path) -> None:
    """Remove what an earlier demo made.

    Raises:
        AdaptmanError: the folder was not made by the demo.
    """
    if not home.exists():
        return
    if not (home / _MARKER).exists():
        raise AdaptmanError(
            f"`{home}` was not made by the demo, so it is not removed",
            hint="choose another folder with `--home DIR`",
        )
    remove(home)


def _check_empty(home: Path) -> None:
    """What the demo makes is marked as its own, and is removed by `--fresh`."""
    if any(home.iterdir()):
        raise AdaptmanError(
            f"`{home}` holds something that the demo did not make",
            hint="choose another folder with `--home DIR`",
        )


def _schema(name: str, tell: str, path: Path) -> Step:
    return Step(name, tell, lambda: ["schema", "register", str(path)])


def _suite(name: str, tell: str, kind: str, path: Path) -> Step:
    args = ["suite", "register", str(path), "--kind", kind, "--name", name]
    return Step(f"suite-{name}", tell, lambda: args)


def _update(tell: str, schema: int, examples: Path, note: str, recipe: Mapping[str, object] = {}) -> Step:
    args = ["update", "run", "--schema", str(schema), "--examples", str(examples), "--note", note]
    for name, value in recipe.items():
        args += ["--set", f"{name}={value}"]
    return Step(note, tell, lambda: args)


def _shown(arg: str) -> str:
    """As one would type it in the working directory."""
    relative = os.path.relpath(arg) if os.path.isabs(arg) else arg
    return shlex.quote(min(arg, relative, key=len))
