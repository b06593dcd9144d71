"""Delivery in order, by one at a time, whatever MLflow does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from adaptman.errors import ArtifactError
from adaptman.lifecycle import outbox
from adaptman.lifecycle.outbox import DeliveryReport, deliver_pending, pending_rows, start_delivery
from adaptman.lifecycle.workspace import Workspace
from adaptman.lineage.client import connect
from adaptman.lineage.errors import StoreDownError
from registry.writer import Writer
from tests.lineage.census import census
from tests.lineage.conftest import until
from tests.lineage.line import KINDS_TOLD, pending, record, workspace_with


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path) -> Iterator[Workspace]:
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        yield workspace


Trouble = Callable[[str, Mapping[str, Any]], None]
RUNS = ["base", "suite: target", "training", "update → v2"]


class Listener:
    """Hears what MLflow would be told. `trouble` may raise."""

    def __init__(self, trouble: Trouble = lambda kind, payload: None) -> None:
        self.heard: list[tuple[str, str]] = []
        self.pointed: list[tuple[str, dict[str, int | None]]] = []
        self.trouble = trouble

    def deliver(self, kind: str, key: str, payload: Mapping[str, Any]) -> dict[str, str]:
        self.trouble(kind, payload)
        self.heard.append((payload["model"], kind))
        return {"run_id": f"run of {key}"}

    def point(self, model: str, standing: Mapping[str, int | None]) -> dict[str, str]:
        self.pointed.append((model, dict(standing)))
        return {}


def fail_on(kind: str, error: Exception, model: str = "shop") -> Trouble:
    def trouble(found: str, payload: Mapping[str, Any]) -> None:
        if (found, payload["model"]) == (kind, model):
            raise error

    return trouble


def test_everything_reaches_mlflow(workspace: Workspace) -> None:
    assert deliver_pending(workspace) == DeliveryReport(len(KINDS_TOLD), 0)
    found = census(connect(workspace.settings.tracking_uri))
    assert sorted(run["name"] for run in found["runs"]) == RUNS
    assert found["registered"][0]["aliases"] == {"champion": "2", "previous": "1"}
    with workspace.registry.read() as reader:
        rows, events = reader.outbox_rows(), reader.events(limit=1)
    assert [row.result is not None and "registered_model" in row.result for row in rows].count(True) == 5
    assert (rows[-1].result or {})["champion"] == "2"
    assert found["registered"][0]["tags"]["adaptman.registry"] == events[0].hash
    assert (workspace.settings.home / "mlartifacts" / "shop").is_dir()


def test_in_the_order_in_which_it_happened(workspace: Workspace) -> None:
    listener = Listener()
    deliver_pending(workspace, messenger=listener)
    assert [kind for _, kind in listener.heard] == KINDS_TOLD


def test_with_nothing_to_tell_mlflow_is_not_opened(workspace: Workspace) -> None:
    deliver_pending(workspace, messenger=Listener())
    broken = Listener(fail_on("version.base", AssertionError("told again")))
    assert deliver_pending(workspace, messenger=broken) == DeliveryReport(0, 0)
    assert broken.heard == []


def test_progress_is_told_after_each_row(workspace: Workspace) -> None:
    seen: list[tuple[object, ...]] = []

    class Watch:
        def start(self, phase: str, total: int) -> None:
            seen.append((phase, total))

        def advance(self, units: int, note: str = "") -> None:
            seen.append((units, note))

        def finish(self, note: str = "") -> None:
            seen.append((note,))

    deliver_pending(workspace, messenger=Listener(), progress=Watch())
    assert seen == [("telling MLflow", 6), *((1, kind) for kind in KINDS_TOLD), ("6 told",)]


def test_a_store_that_is_down_ends_the_round(workspace: Workspace) -> None:
    record(workspace, "other")
    down = StoreDownError("MLflow does not answer at `http://me:secret@host`", hint="wait")
    listener = Listener(fail_on("version.trained", down))
    report = deliver_pending(workspace, messenger=listener)
    message = "MLflow does not answer at `http://me:***@host`"
    assert report == DeliveryReport(2, 2 * len(KINDS_TOLD) - 2, message, "wait")
    first, *rest = pending_rows(workspace)
    assert (first.kind, first.attempts, first.last_error) == ("version.trained", 1, message)
    assert {row.attempts for row in rest} == {0}
    later = Listener()
    assert deliver_pending(workspace, messenger=later).pending == 0
    assert [kind for _, kind in listener.heard + later.heard] == KINDS_TOLD * 2


def test_a_row_that_is_refused_holds_up_its_own_line_only(workspace: Workspace) -> None:
    record(workspace, "other")
    listener = Listener(fail_on("version.trained", ArtifactError("object `c` is damaged")))
    report = deliver_pending(workspace, messenger=listener)
    assert report == DeliveryReport(2 + len(KINDS_TOLD), 4, "object `c` is damaged")
    assert [kind for model, kind in listener.heard if model == "shop"] == KINDS_TOLD[:2]
    assert [kind for model, kind in listener.heard if model == "other"] == KINDS_TOLD
    assert [row.attempts for row in pending_rows(workspace)] == [1, 0, 0, 0]


def test_many_refused_rows_do_not_hide_the_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAGE", 2)
    record(workspace, "other")
    listener = Listener(fail_on("version.base", ArtifactError("damaged")))
    assert deliver_pending(workspace, messenger=listener).delivered == len(KINDS_TOLD)


def test_a_store_that_is_down_is_tried_again_with_longer_pauses_and_a_bound(workspace: Workspace) -> None:
    pauses: list[float] = []
    down = Listener(fail_on("version.base", StoreDownError("MLflow does not answer")))
    report = deliver_pending(
        workspace, messenger=down, retry_after_s=outbox.RETRY_AFTER_S, pause=pauses.append
    )
    assert pauses == list(outbox.RETRY_AFTER_S) == sorted(pauses)
    assert (report.delivered, report.pending, report.error) == (0, 6, "MLflow does not answer")
    assert pending_rows(workspace)[0].attempts == 1 + len(pauses)


def test_a_store_that_comes_back_meanwhile_is_told_everything(workspace: Workspace) -> None:
    listener = Listener(fail_on("version.trained", StoreDownError("MLflow does not answer")))

    def mend(seconds: float) -> None:
        listener.trouble = lambda kind, payload: None

    report = deliver_pending(workspace, messenger=listener, retry_after_s=(1, 3), pause=mend)
    assert report == DeliveryReport(len(KINDS_TOLD), 0)
    assert [kind for _, kind in listener.heard] == KINDS_TOLD


def test_a_row_that_is_refused_is_not_tried_again_at_once(workspace: Workspace) -> None:
    refused = Listener(fail_on("version.base", ArtifactError("damaged")))
    report = deliver_pending(workspace, messenger=refused, retry_after_s=(1,), pause=lambda _: 1 / 0)
    assert report.error == "damaged"


def test_aliases_move_once_and_last(workspace: Workspace) -> None:
    """A line that is far behind never shows a champion of the past on its way."""
    record(workspace, "other")
    listener = Listener()
    deliver_pending(workspace, messenger=listener)
    wanted = {"champion": 2, "previous": 1, "challenger": None}
    assert listener.pointed == [("shop", wanted), ("other", wanted)]
    listener.pointed.clear()
    deliver_pending(workspace, messenger=listener, full=True)
    assert listener.pointed == [("shop", wanted), ("other", wanted)]


def test_a_full_delivery_tells_everything_in_order_even_if_it_is_broken_off(workspace: Workspace) -> None:
    deliver_pending(workspace, messenger=Listener())
    down = Listener(fail_on("suite_run.recorded", StoreDownError("gone")))
    broken = deliver_pending(workspace, messenger=down, full=True)
    later = Listener()
    rest = deliver_pending(workspace, messenger=later)
    assert (broken.delivered, broken.pending, rest.delivered, rest.pending) == (3, 3, 3, 0)
    assert [kind for _, kind in down.heard + later.heard] == KINDS_TOLD


def test_a_full_delivery_waits_its_turn(workspace: Workspace) -> None:
    """Nothing is made pending while somebody else delivers."""
    deliver_pending(workspace, messenger=Listener())
    with FileLock(workspace.settings.home / outbox.LOCK_FILE):
        report = deliver_pending(workspace, messenger=Listener(), full=True, wait_s=0)
    assert (report.busy, report.pending) == (True, 0)


def test_a_kind_that_has_no_place_in_mlflow_holds_nothing_up(workspace: Workspace) -> None:
    with workspace.registry.read() as reader:
        model = reader.model("shop")
    for kind in ("approval.recorded", "version.signed"):
        workspace.registry.write(lambda writer, kind=kind: tell_of(writer, kind, model.id))  # type: ignore[misc]
    report = deliver_pending(workspace)
    assert (report.delivered, report.pending, report.error) == (8, 0, None)
    assert report.not_mirrored == {"approval.recorded": 1, "version.signed": 1}
    with workspace.registry.read() as reader:
        last = reader.outbox_rows()[-1]
    assert last.result == {"not_mirrored": "version.signed", "champion": "2", "previous": "1"}


def tell_of(writer: Writer, kind: str, model_id: int) -> None:
    event = writer._record(kind, "version/shop/2", {}, model_id=model_id)
    writer._tell(event, kind, {"model": "shop", "version": 2})


def test_the_second_of_two_deliverers_does_nothing_and_says_so(workspace: Workspace) -> None:
    reports: list[DeliveryReport] = []
    other = Listener()

    def meanwhile(kind: str, payload: Mapping[str, Any]) -> None:
        reports.append(deliver_pending(workspace, messenger=other, wait_s=0))

    assert deliver_pending(workspace, messenger=Listener(meanwhile)).delivered == len(KINDS_TOLD)
    assert all(report.busy and report.delivered == 0 for report in reports)
    assert reports[0].error == "somebody else is telling MLflow now"
    assert other.heard == []


def test_what_happens_during_a_delivery_is_delivered(workspace: Workspace) -> None:
    calls: list[str] = []

    def meanwhile(kind: str, payload: Mapping[str, Any]) -> None:
        calls.append(kind)
        if len(calls) == len(KINDS_TOLD):
            record(workspace, "other")

    report = deliver_pending(workspace, messenger=Listener(meanwhile))
    assert report == DeliveryReport(2 * len(KINDS_TOLD), 0)


DUMP = """#!{python}
import json, os, sys
facts = {{"args": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
         "leads": os.getsid(0) == os.getpid(), "stdin": os.read(0, 1).decode()}}
print("hello log", flush=True)
with open({target!r} + ".part", "w") as out:
    json.dump(facts, out)
os.rename({target!r} + ".part", {target!r})
"""


def test_the_process_in_the_background(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, script = tmp_path / "facts.json", tmp_path / "python"
    script.write_text(DUMP.format(python=sys.executable, target=str(target)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    secret = workspace.settings.model_copy(update={"tracking_uri": "http://me:secret@127.0.0.1:9"})
    workspace.settings = secret
    assert start_delivery(workspace)
    until(target.exists, 20, "the process did not start")
    facts = json.loads(target.read_text())
    assert facts["args"] == ["-P", "-m", "adaptman", "lineage", "sync", "--quiet"]
    assert (facts["leads"], facts["stdin"], facts["cwd"]) == (True, "", os.getcwd())
    for name in ("home", "model", "tracking_uri", "registry_url", "objects", "actor", "artifact_location"):
        assert facts["env"][f"ADAPTMAN_{name.upper()}"] == str(getattr(secret, name))
    assert (secret.home / "lineage.log").read_text() == "hello log\n"


def test_starting_it_takes_no_time(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    took = []
    for _ in range(10):
        began = time.perf_counter()
        assert start_delivery(workspace)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.02


def test_starting_it_does_not_load_mlflow() -> None:
    script = (
        "import sys, adaptman.lifecycle.outbox, filelock\n"
        "print(*[name for name in ('mlflow', 'torch', 'adaptman.lineage.mirror') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_it_can_be_switched_off(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert not start_delivery(workspace), "a program that cannot be started stops nothing"
    workspace.settings = workspace.settings.model_copy(update={"auto_sync": False})
    monkeypatch.setattr(outbox, "_spawn", None)
    assert not start_delivery(workspace)


def test_the_log_does_not_grow_for_ever(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    log = workspace.settings.home / "lineage.log"
    log.write_bytes(b"x" * (outbox.MAX_LOG_BYTES + 1))
    start_delivery(workspace)
    assert log.stat().st_size == 0


@pytest.mark.slow
def test_the_process_delivers_whatever_folder_it_is_started_from(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "elsewhere"
    (trap / "registry").mkdir(parents=True)
    (trap / "registry" / "__init__.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.chdir(trap)
    assert start_delivery(workspace)
    log = workspace.settings.home / "lineage.log"
    until(lambda: not pending(workspace.registry) or bool(log.read_text()), 60, "nothing was delivered")
    assert log.read_text() == ""
    assert census(connect(workspace.settings.tracking_uri))["registered"][0]["aliases"]["champion"] == "2"


@pytest.mark.slow
def test_two_processes_at_once_tell_everything_once(workspace: Workspace) -> None:
    environment = {**os.environ, "ADAPTMAN_HOME": str(workspace.settings.home)}
    command = [sys.executable, "-m", "adaptman", "lineage", "sync", "--quiet"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]
    assert [(process.communicate(timeout=120)[0], process.returncode) for process in both] == [(b"", 0)] * 2
    assert not pending(workspace.registry)
    found = census(connect(workspace.settings.tracking_uri))
    assert sorted(run["name"] for run in found["runs"]) == RUNS
    assert len(found["models"]) == len(found["registered"][0]["versions"]) == 2
