"""Results are taken by what they were computed from, and an evaluation that was killed goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adaptman.evaluation import runner
from adaptman.evaluation.suites import SuiteKind
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.history import history
from adaptman.lifecycle.suites import register_suite
from registry.tables import SuiteRun
from registry.writer import Writer
from tests.lifecycle.tiny_line import CANDIDATE, Killed, Recorder, TinyLine, tiny_lines

ROOT = Path(__file__).resolve().parents[2]
LONG = 20


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyLine]:
    """A line after its first update, and a new suite that is asked in batches of six."""
    monkeypatch.setattr(runner, "_FEWEST_TOGETHER", 6)
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line")
    add_long_suite(line)
    yield line
    line.workspace.close()


def add_long_suite(line: TinyLine) -> None:
    register_suite(line.workspace, long_suite(), name="long", kind=SuiteKind.GENERAL, origin="long.jsonl")


def long_suite() -> bytes:
    return b"".join(json.dumps(_case(at)).encode() + b"\n" for at in range(LONG))


def _case(at: int) -> dict[str, Any]:
    """Of another length than the next one, and with an answer that no random model gives."""
    messages = [{"role": "user", "content": "go on " * (at % 5) + str(at)}]
    return {"id": str(at), "messages": messages, "answers": ["nobody says this"]}


def runs(line: TinyLine, number: int = CANDIDATE, suite: str = "long") -> list[SuiteRun]:
    with line.workspace.registry.read() as reader:
        row = reader.suite(line.workspace.model_row().id, suite)
        return [run for run in reader.suite_runs(line.version(number).id) if run.suite_id == row.id]


def answers(line: TinyLine, number: int = CANDIDATE) -> Any:
    """Ids, scores and texts, as they stand in the store."""
    return json.loads(line.workspace.store.get_bytes(runs(line, number)[-1].outputs_digest or ""))["outcomes"]


def journals(line: TinyLine) -> list[Path]:
    folder = line.workspace.settings.home / "runs"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the candidate answers when nobody disturbs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_FEWEST_TOGETHER", 6)
        line = TinyLine.copy(tiny_lines().updated, tmp_path_factory.mktemp("undisturbed") / "line")
        add_long_suite(line)
        evaluate(line.workspace, CANDIDATE)
        found = answers(line)
        line.workspace.close()
        return found


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_killed_between_batches(long: TinyLine, undisturbed: Any, batches: int) -> None:
    """The kill comes with the first answer of the next batch."""
    died = Recorder()

    def die(phase: str, advance: int) -> None:
        if phase == "v2 on long" and journals(long):
            lines = journals(long)[0].read_bytes().count(b"\n")
            if lines == batches:
                raise Killed
        elif phase == "v2 on long" and batches == 0:
            raise Killed

    died.on_advance = die
    with pytest.raises(Killed):
        evaluate(long.workspace, CANDIDATE, progress=died)
    assert len(journals(long)) == min(batches, 1)
    progress = Recorder()
    evaluate(long.workspace, CANDIDATE, progress=progress)
    start = f" from case {6 * batches + 1}" if batches else ""
    assert progress.phases == [f"v2 on long{start}"]
    assert answers(long) == undisturbed
    assert (runs(long)[-1].n, runs(long)[-1].complete, journals(long)) == (LONG, True, [])


def test_a_torn_line_is_asked_again(long: TinyLine, undisturbed: Any) -> None:
    def die(phase: str, advance: int) -> None:
        if phase == "v2 on long" and journals(long) and journals(long)[0].read_bytes().count(b"\n") == 2:
            raise Killed

    with pytest.raises(Killed):
        evaluate(long.workspace, CANDIDATE, progress=Recorder(on_advance=die))
    [path] = journals(long)
    path.write_bytes(path.read_bytes()[:-5])
    progress = Recorder()
    evaluate(long.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v2 on long from case 7"]
    assert answers(long) == undisturbed


CHILD = """
import sys
from pathlib import Path
from adaptman.evaluation import runner
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.progress import Silent
from tests.lifecycle.tiny_line import TinyLine
from tests.lifecycle.story import Clock

runner._FEWEST_TOGETHER = 6
line = TinyLine.at(Path(sys.argv[1]), Clock())

class Stop(Silent):
    phase = ""
    def start(self, phase, total):
        self.phase = phase
    def advance(self, units, note=""):
        kept = list((line.workspace.settings.home / "runs").glob("*.jsonl"))
        if self.phase == "v2 on long" and kept and kept[0].read_bytes().count(b"\\n") == 2:
            print("here", flush=True)
            sys.stdin.read()

evaluate(line.workspace, 2, progress=Stop())
"""


@pytest.mark.slow
def test_a_process_that_was_killed_in_a_suite(long: TinyLine, undisturbed: Any) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(long.folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    progress = Recorder()
    evaluate(long.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v2 on long from case 13"]
    assert answers(long) == undisturbed
    assert journals(long) == []


def twin(line: TinyLine) -> int:
    """A version with the weights of version 2, as one that was made again has."""
    made = line.version()

    def record(writer: Writer) -> int:
        version = writer.start_version(
            made.model_id, parent_id=made.parent_id, base_digest=made.base_digest, recipe=made.recipe or {},
            recipe_digest=made.recipe_digest or "", tool_schema_id=made.tool_schema_id,
            output_format_id=made.output_format_id, example_set_id=made.example_set_id,
        )  # fmt: skip
        writer.finish_training(
            version.id, adapter_id=made.adapter_id or 0, replay_set_id=None, curves_digest=None, summary={}
        )
        return version.number

    return line.workspace.registry.write(record)


def test_a_version_of_the_same_weights_takes_the_answers_that_stand(updated: TinyLine) -> None:
    number, progress = twin(updated), Recorder()
    done = evaluate(updated.workspace, number, progress=progress)
    assert (progress.phases, done.version.state) == ([], "refused")
    [mine], [standing] = runs(updated, number, "general"), runs(updated, CANDIDATE, "general")
    assert mine.id != standing.id
    same = ("outputs_digest", "cache_key", "value", "n", "environment", "duration_s")
    assert [getattr(mine, name) for name in same] == [getattr(standing, name) for name in same]
    before = updated.events()
    evaluate(updated.workspace, number)
    assert updated.events() == before


def test_other_weights_have_another_key(updated: TinyLine) -> None:
    keys = {run.cache_key for number in (1, 2) for run in runs(updated, number, "general")}
    assert len(keys) == 2
    assert None not in keys


@pytest.mark.parametrize("change", ["EVALUATION_VERSION", "_MAX_NEW_TOKENS"])
def test_another_way_of_asking_means_asking_again(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    values = {"EVALUATION_VERSION": -1, "_MAX_NEW_TOKENS": {SuiteKind.GENERAL: 5}}
    monkeypatch.setattr(f"adaptman.lifecycle.evaluate.{change}", values[change])
    progress = Recorder()
    evaluate(updated.workspace, CANDIDATE, progress=progress)
    assert progress.phases[:1] == ["v1 on general again"]
    assert len(progress.phases) == (4 if change == "EVALUATION_VERSION" else 2)


def test_a_result_that_does_not_say_how_it_was_made_is_made_again(updated: TinyLine) -> None:
    """Rows older than the cache key. A suite run is never changed, so here one is added."""
    [standing] = runs(updated, CANDIDATE, "general")

    def age(writer: Writer) -> None:
        row = writer.suite(updated.version().model_id, "general")
        renamed = writer.add_suite(
            row.model_id, name="old", kind=row.kind, object_digest=row.object_digest, suite_digest="0" * 64,
            case_count=row.case_count, metric=row.metric, higher_is_better=True,
        ).row  # fmt: skip
        writer.record_suite_run(
            updated.version().id, renamed.id, metric="accuracy", value=0.0, low=0.0, high=1.0, n=4,
            duration_s=1.0, environment={}, outcomes=writer.outcomes(standing.id),
            outputs_digest=standing.outputs_digest,
        )  # fmt: skip

    updated.workspace.registry.write(age)
    progress = Recorder()
    evaluate(updated.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v1 on old", "v2 on old again"]


def test_again(updated: TinyLine) -> None:
    progress = Recorder()
    evaluate(updated.workspace, CANDIDATE, again=True, progress=progress)
    assert progress.phases == ["v2 on general again", "v2 on new-tools again"]
    assert len(runs(updated, CANDIDATE, "general")) == 2


STRICT = "name: strict\nrules:\n  general: {floor: 0.5, missing: ignore}\n"


@pytest.fixture
def strict(long: TinyLine, tmp_path: Path) -> Iterator[TinyLine]:
    """The same line under a policy that a model which answers nothing right cannot meet."""
    (tmp_path / "policy.yaml").write_text(STRICT)
    line = TinyLine.at(long.folder, long.clock, policy=str(tmp_path / "policy.yaml"))
    yield line
    line.workspace.close()


def test_an_evaluation_that_may_stop_early(strict: TinyLine, undisturbed: Any) -> None:
    assert not any(outcome["score"] for outcome in undisturbed)
    done = evaluate(strict.workspace, CANDIDATE, stop_early=True)
    [run] = runs(strict)
    assert (run.n, run.complete, done.version.state) == (12, False, "refused")
    assert [run.complete for run in runs(strict, 1)] == [True]
    assert done.decision is not None
    refusals = [text for text in done.decision.refusals if text.startswith("long")]
    assert refusals == [
        "long: 0.00 → 0.00 on the first 12 of 20 cases: refused whatever the remaining 8 would have given"
    ]
    cells = {line.suite: line.cells for line in history(strict.workspace).lines}["long"]
    assert [(number, cell.n, cell.complete) for number, cell in cells.items()] == [
        (1, 20, True),
        (2, 12, False),
    ]
    before = strict.events()
    evaluate(strict.workspace, CANDIDATE, stop_early=True)
    assert strict.events() == before


def test_what_ended_early_is_gone_on_with(strict: TinyLine, undisturbed: Any) -> None:
    evaluate(strict.workspace, CANDIDATE, stop_early=True)
    progress = Recorder()
    done = evaluate(strict.workspace, CANDIDATE, progress=progress)
    assert progress.phases == ["v2 on long from case 13"]
    assert [(run.n, run.complete) for run in runs(strict)] == [(12, False), (20, True)]
    assert answers(strict) == undisturbed
    assert done.decision is not None
    assert [item.unanswered for item in done.decision.evidence] == [0, 0, 0]
    evaluate(strict.workspace, CANDIDATE, stop_early=True)
    assert len(runs(strict)) == 2


def test_a_champion_is_never_stopped(strict: TinyLine) -> None:
    evaluate(strict.workspace, 1, stop_early=True)
    assert [run.n for run in runs(strict, 1)] == [20]
