"""The demo's story, played with the real commands on a checkpoint that trains in a moment."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adaptman.config import Settings, load_settings
from adaptman.demo.story import PICTURE, Story, start_over
from adaptman.errors import AdaptmanError
from adaptman.lifecycle.workspace import Workspace
from tests.learning.tiny import make_tiny_checkpoint
from tests.lifecycle.tiny_line import RECIPE_WORDS, Killed
from tests.nobody import as_nobody, owned_by_nobody

pytestmark = pytest.mark.slow

STEPS = [
    "init",
    "schema register",
    "suite register",
    "suite register",
    "update run",
    "promote 2",
    "update run",
    "promote 3",
    "schema register",
    "examples migrate",
    "suite generate",
    "update run",
    "promote 4",
    "rollback",
    "rollback",
    "log --verify",
    "lineage sync",
    "history --plot",
]


@dataclass
class Stage:
    """Runs the story's commands on the tiny model, whose candidates no gate would pass without a waiver."""

    folder: Path
    then: Callable[[str], None] = lambda words: None
    typed: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return load_settings({"home": self.folder / "home"})

    def play(self) -> None:
        Story(self.settings, run=self.run, echo=self.said.append).play()

    def run(self, args: Sequence[str]) -> int:
        from adaptman.cli.demo import run_command

        self.typed.append(" ".join(args[:2]))
        code = run_command(self.folder / "home", [*args, *self.extra(args)])
        self.then(" ".join(args))
        return code

    def extra(self, args: Sequence[str]) -> list[str]:
        if args[0] == "init":
            return ["--base", str(self.folder / "tiny")]
        if args[0] == "update":
            return RECIPE_WORDS
        return ["--waive", "a tiny model learns nothing"] if args[0] == "promote" and args[1] != "2" else []


@pytest.fixture
def stage(tmp_path: Path, bfcl_wheel: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTMAN_AUTO_SYNC", "false")
    make_tiny_checkpoint(tmp_path / "tiny")
    return Stage(tmp_path)


def outcome(stage: Stage) -> dict[str, object]:
    """What the registry holds in the end."""
    with Workspace.open(stage.settings) as workspace, workspace.registry.read() as reader:
        model = reader.model("default")
        return {
            "versions": [(version.number, version.state) for version in reader.versions(model.id)],
            "moves": len(reader.moves(model.id)),
            "suites": [row.name for row in reader.suites(model.id)],
            "started": sum(event.kind == "version.started" for event in reader.events()),
        }


WHOLE = {
    "versions": [(1, "retired"), (2, "refused"), (3, "retired"), (4, "champion")],
    "moves": 5,
    "suites": ["changes-2", "context-2", "general", "new-tools", "siblings-2"],
    "started": 3,
}


def test_the_story_is_played_once_and_goes_on_where_it_was_killed(stage: Stage) -> None:
    """Killed after every command, before the demo could write down that it was done."""

    def die_once(words: str) -> None:
        if words not in died:
            died.add(words)
            raise Killed

    died: set[str] = set()
    stage.then = die_once
    for _ in range(2 * len(STEPS)):
        try:
            stage.play()
            break
        except Killed:
            continue
    assert list(dict.fromkeys(stage.typed)) == list(dict.fromkeys(STEPS))
    assert outcome(stage) == WHOLE
    assert (stage.settings.home / PICTURE).stat().st_size > 10_000
    count = len(stage.typed)
    stage.play()
    assert len(stage.typed) == count, "a story that has ended is not played again"


def test_a_command_that_ends_otherwise_stops_the_story(stage: Stage) -> None:
    (stage.folder / "tiny" / "config.json").unlink()
    with pytest.raises(AdaptmanError, match="`init` ended with exit code 1, not 0"):
        stage.play()
    make_tiny_checkpoint(stage.folder / "tiny")

    def die(words: str) -> None:
        if words.startswith("schema"):
            raise Killed

    stage.then = die
    with pytest.raises(Killed):
        stage.play()
    assert stage.typed == ["init", "init", "schema register"]


def test_a_damaged_record_is_told(stage: Stage) -> None:
    stage.settings.home.mkdir()
    (stage.settings.home / "demo.json").write_text("{")
    with pytest.raises(AdaptmanError, match="is damaged") as told:
        stage.play()
    assert "--fresh" in told.value.hint


def test_starting_over_removes_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    start_over(tmp_path / "nothing")
    strange = tmp_path / "strange"
    strange.mkdir()
    with pytest.raises(AdaptmanError, match="was not made by the demo"):
        start_over(strange)
    (strange / "demo.json").write_text(json.dumps({"done": []}))
    start_over(strange)
    assert not strange.exists()


def test_starting_over_needs_no_root(tmp_path: Path) -> None:
    """The store's trees are read-only, which binds everybody but root."""
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        tree = home / "objects" / "tree"
        tree.mkdir(parents=True)
        (home / "demo.json").write_text(json.dumps({"done": []}))
        (tree / "config.json").write_text("{}")
        for path in (Path(folder), home, home / "objects", tree, tree / "config.json"):
            owned_by_nobody(path)
        tree.chmod(0o555)
        with as_nobody():
            start_over(home)
        assert not home.exists()


def test_a_folder_of_somebody_else_is_left_alone(stage: Stage) -> None:
    stage.settings.home.mkdir()
    (stage.settings.home / "thesis.tex").write_text("years of work")
    with pytest.raises(AdaptmanError, match="holds something that the demo did not make"):
        stage.play()
    assert [path.name for path in stage.settings.home.iterdir()] == ["thesis.tex"]
