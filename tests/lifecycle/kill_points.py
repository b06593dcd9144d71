"""Kills a real process at each thing that it does to a disk or a database, and looks at what is left.

    python -m tests.lifecycle.kill_points [--most N]

A child of this process does the work of one command and is killed (SIGKILL) before its nth step: an SQL
statement, a commit, the moment after a commit, an fsync, a rename, a link or a removal. What is left must be
whole; the command, given again, must end as it does undisturbed. The script tries every step and prints a
table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle import doctor
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.export import export_version
from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lifecycle.promote import promote, rollback
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.suites import register_suite
from adaptman.lifecycle.workspace import Workspace
from registry.errors import PromotionError
from registry.states import VersionState
from tests.lifecycle.story import SECOND_TOOLS, Clock, document, suite_lines
from tests.lifecycle.tiny_line import CANDIDATE, TinyLine
from tests.registry.databases import KINDS, Postgres, postgres_server

LAST = -1
LAST_WORD = "after the last word"
DISK = ("fsync", "replace", "rename", "link", "unlink", "rmdir")


class Tripwire:
    """Counts the steps of this process, and kills it before the one at `at`, or at `LAST`; 0 counts only."""

    def __init__(self, at: int, tell: Callable[[str], None]) -> None:
        self._at, self._tell = at, tell
        self.count = 0

    def step(self, what: str) -> None:
        self.count += 1
        if self.count == self._at or (self._at == LAST and what == LAST_WORD):
            self._tell(what)
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """For the rest of this process's life."""
        event.listen(Engine, "before_cursor_execute", self._on_statement)
        commit = DefaultDialect.do_commit

        def do_commit(dialect: DefaultDialect, connection: Any) -> None:
            self.step("before a commit")
            commit(dialect, connection)
            self.step("after a commit")

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
        for name in DISK:
            setattr(os, name, partial(self._on_disk, name, getattr(os, name)))

    def _on_statement(self, connection: Any, cursor: Any, statement: str, *others: object) -> None:
        self.step(" ".join(statement.split()[:3]))

    def _on_disk(self, name: str, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.step(name)
        return work(*arguments, **options)


class Ending(NamedTuple):
    """How a child ended: before which step it was killed, or after how many it was done."""

    killed_before: str | None
    steps: int


def in_a_child(work: Callable[[], object], at: int) -> Ending:
    """Do the work in a child of this process that is killed before its step `at`; 0 lets it live."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_the_child(work, at, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as told:
        words = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Ending(words, at)
    assert status == 0, f"the child failed before step {at}: {words}"
    return Ending(None, int(words))


def _be_the_child(work: Callable[[], object], at: int, writing: int) -> NoReturn:
    def tell(words: str) -> None:
        os.write(writing, words.encode()[:4000])

    try:
        wire = Tripwire(at, tell)
        wire.install()
        work()
        wire.step(LAST_WORD)
        tell(str(wire.count))
    except BaseException:
        tell(traceback.format_exc()[-3000:])
        os._exit(1)
    os._exit(0)


@dataclass(frozen=True)
class Act:
    """One command: what stands before it, what it does, and whether it need not be given again."""

    name: str
    prepare: Callable[[TinyLine], object]
    work: Callable[[TinyLine], object]
    is_done: Callable[[TinyLine], bool] = lambda line: False


def _update(line: TinyLine) -> object:
    return line.update()


def _register(line: TinyLine) -> None:
    register_schema(line.workspace, document(SECOND_TOOLS), "tools.json", note="the second")
    data = suite_lines("general", salt="more ")
    register_suite(line.workspace, data, name="more", kind=SuiteKind.GENERAL, origin="more.jsonl")


def _export(line: TinyLine) -> None:
    export_version(line.workspace, CANDIDATE, line.folder / "exported", merged=False)


def _promote(line: TinyLine) -> None:
    with suppress(PromotionError):  # it was promoted before the kill
        promote(line.workspace, CANDIDATE, waiver="it must be")


def _champion(line: TinyLine) -> int | None:
    with line.workspace.registry.read() as reader:
        champion = reader.champion(line.workspace.model_row().id)
    return champion.number if champion else None


ACTS = (
    Act("register", TinyLine.fill, _register),
    Act("update", TinyLine.fill, _update),
    Act(
        "evaluate",
        lambda line: line.suite("more", "general", salt="more "),
        lambda line: evaluate(line.workspace, 2),
    ),
    Act("promote", lambda line: None, _promote),
    Act(
        "rollback",
        lambda line: promote(line.workspace, CANDIDATE, waiver="it must be"),
        lambda line: rollback(line.workspace),
        is_done=lambda line: _champion(line) == 1,
    ),
    Act("export", lambda line: None, _export, is_done=lambda line: (line.folder / "exported").exists()),
    Act("deliver", lambda line: None, lambda line: deliver_pending(line.workspace)),
)
FROM_NOTHING = {"register", "update"}


class Stage:
    """A workspace as it stands before an act, to be set up as often as wanted."""

    def __init__(self, act: Act, template: Path, clock: Clock, server: Postgres | None) -> None:
        self.act, self._clock, self._server = act, clock, server
        self._template = template

    @classmethod
    def build(cls, act: Act, folder: Path, server: Postgres | None) -> Stage:
        """Begin a line on the database of that kind and prepare it for the act."""
        import torch

        torch.set_num_threads(1)  # a child does not inherit the other threads, and would wait for them
        changes = {"registry_url": server.made(act.name)} if server else {}
        line = TinyLine.begin(folder, **changes)
        if act.name not in FROM_NOTHING:
            line.fill()
            line.update()
        act.prepare(line)
        line.workspace.close()
        return cls(act, folder, line.clock, server)

    @contextmanager
    def set_up(self) -> Iterator[TinyLine]:
        """A copy of the workspace; it is gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="adaptman-kill-"))
        shutil.copytree(self._template, folder, dirs_exist_ok=True)
        try:
            if self._server is None:
                yield TinyLine.at(folder, Clock(self._clock.now))
                return
            with self._server.new_database(self.act.name) as url:
                line = TinyLine.at(folder, Clock(self._clock.now), registry_url=url)
                yield line
                line.workspace.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Picture(NamedTuple):
    """What a workspace holds, but for who held a lease when."""

    events: Counter[str]
    versions: tuple[tuple[int, str, str | None], ...]
    runs: tuple[tuple[int, str, float], ...]
    pending: int
    files: frozenset[str]


def picture(workspace: Workspace) -> Picture:
    with workspace.registry.read() as reader:
        model = workspace.model_row()
        versions = reader.versions(model.id)
        adapters = {
            row.adapter_id: reader.adapter(row.adapter_id).tree_digest for row in versions if row.adapter_id
        }
        events = Counter(one.kind for one in reader.events() if one.kind != "lease.taken_over")
        runs = [
            (row.number, run.suite_digest, run.value) for row in versions for run in reader.suite_runs(row.id)
        ]
        pending = len(reader.outbox_pending(10_000))
    runs_folder = workspace.settings.home / "runs"
    left = {path.name for path in runs_folder.iterdir()} if runs_folder.is_dir() else set()
    states = tuple((row.number, row.state.value, adapters.get(row.adapter_id or 0)) for row in versions)
    return Picture(events, states, tuple(sorted(runs)), pending, frozenset(left))


PROBES = doctor.Probes(
    python=lambda: "python",
    free_bytes=lambda folder: 10**12,
    package_version=lambda name: "1",
    mlflow=lambda uri: None,
    embedded_model=lambda: Path(__file__),
)


def assert_whole(line: TinyLine) -> None:
    """Nothing half-made is visible, whatever was killed."""
    with line.workspace.registry.read() as reader:
        assert reader.verify_chain().ok
        champions = [row for row in reader.versions(1) if row.state is VersionState.CHAMPION]
    assert len(champions) == 1
    found = doctor.examine(line.workspace.settings, clock=line.clock, probes=PROBES)
    assert [one for one in found if one.status is doctor.Status.FAIL] == []


def assert_well(line: TinyLine) -> None:
    """After the command was given again, the doctor has nothing to say."""
    found = doctor.examine(line.workspace.settings, clock=line.clock, probes=PROBES)
    assert [one for one in found if one.status is not doctor.Status.OK and one.check != "outbox"] == []


def undisturbed(stage: Stage) -> tuple[int, Picture]:
    """How many steps the act takes, and how it ends."""
    with stage.set_up() as line:
        line.workspace.close()
        ending = in_a_child(lambda: stage.act.work(line), 0)
        return ending.steps, picture(line.workspace)


def kill_and_go_on(stage: Stage, at: int, expected: Picture) -> str:
    """Kill the act before its step `at`, look at what is left, give it again. Returns what the step was."""
    with stage.set_up() as line:
        line.workspace.close()
        ending = in_a_child(lambda: stage.act.work(line), at)
        step = ending.killed_before or "not reached"
        assert_whole(line)
        if step == LAST_WORD:  # it was acknowledged: nothing of it may be lost
            assert picture(line.workspace) == expected
        line.workspace.close()
        if not stage.act.is_done(line):
            stage.act.work(line)
        assert picture(line.workspace) == expected, f"killed before {step}"
        assert_well(line)
        line.workspace.close()
        return step


def points(steps: int, most: int) -> list[int]:
    """At most so many of the steps, the first and the last among them; 0 is all.

    How many there are differs by a heartbeat or two from run to run, so that the last one has no number.
    """
    if not most or steps <= most:
        return [*range(1, steps), LAST]
    return [*sorted({1 + round(at * (steps - 1) / (most - 1)) for at in range(most - 1)}), LAST]


def main() -> None:
    """Every step of every act on both databases."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--most", type=int, default=0, help="steps of an act to try (default: all)")
    words.add_argument("--act", choices=[act.name for act in ACTS], help="this act only")
    asked = words.parse_args()
    print(
        "| command | database | steps | killed before each of | survived |\n| --- | --- | --- | --- | --- |"
    )
    with postgres_server() as server:
        for act in ACTS:
            for kind in KINDS if asked.act in (None, act.name) else ():
                folder = Path(tempfile.mkdtemp(prefix="adaptman-stage-"))
                stage = Stage.build(act, folder, server if kind == "postgresql" else None)
                steps, expected = undisturbed(stage)
                tried = Counter(kill_and_go_on(stage, at, expected) for at in points(steps, asked.most))
                shown = ", ".join(f"{what} ({times})" for what, times in tried.most_common(8))
                print(
                    f"| {act.name} | {kind} | {steps} | {shown} | {tried.total()} of {tried.total()} |",
                    flush=True,
                )
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
