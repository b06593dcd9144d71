"""`adaptman lineage sync | status | ui`."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from adaptman.cli._context import App
from adaptman.cli.lineage import ui_command
from adaptman.cli.main import cli
from adaptman.lifecycle import outbox
from adaptman.lifecycle.outbox import LOCK_WAIT_S, pending_rows
from adaptman.lifecycle.workspace import Workspace
from adaptman.lineage.client import connect
from tests.lineage.line import KINDS_TOLD, Clock, workspace_with

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outbox, "RETRY_AFTER_S", ())
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        yield workspace


def run(workspace: Workspace, *words: str, **environment: str) -> Result:
    arguments = ["--home", str(workspace.settings.home), "lineage", *words]
    return CliRunner().invoke(cli, arguments, obj=App(clock=Clock()), env=environment)


def as_json(workspace: Workspace, *words: str, **environment: str) -> Any:
    return json.loads(run(workspace, *words, "--json", **environment).stdout)


def test_sync_says_how_much_was_told(workspace: Workspace) -> None:
    first, second = run(workspace, "sync"), run(workspace, "sync")
    assert (first.exit_code, first.stdout) == (0, "")
    assert first.stderr.splitlines()[-1] == "MLflow was told 6 things"
    assert (second.exit_code, second.stderr) == (0, "MLflow knows everything\n")


def test_sync_as_json_and_quietly(workspace: Workspace) -> None:
    assert as_json(workspace, "sync") == {
        "delivered": 6,
        "pending": 0,
        "error": None,
        "hint": "",
        "busy": False,
        "not_mirrored": {},
    }
    assert run(workspace, "sync", "--quiet").output == ""


def test_sync_fails_when_nothing_answers(workspace: Workspace) -> None:
    done = run(workspace, "sync", "--quiet", ADAPTMAN_TRACKING_URI=NOBODY)
    assert done.exit_code == 1
    assert f"error: MLflow does not answer at `{NOBODY}`" in done.stderr
    assert "(6 not told yet, 0 told)" in done.stderr
    assert "\n\nhint: nothing is lost" in done.stderr


def test_sync_waits_for_somebody_else(workspace: Workspace) -> None:
    lock = FileLock(workspace.settings.home / "lineage.lock", thread_local=False)
    lock.acquire()
    release = threading.Timer(LOCK_WAIT_S + 0.5, lock.release)
    release.start()
    done = run(workspace, "sync")
    release.join()
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "MLflow was told 6 things")
    assert pending_rows(workspace) == []


def test_sync_while_somebody_else_does_for_long(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SYNC_WAIT_S", 0.1)
    with FileLock(workspace.settings.home / "lineage.lock"):
        done = run(workspace, "sync")
        assert (done.exit_code, done.stderr) == (
            0,
            "somebody else is telling MLflow now; 6 not told yet\n",
        )
        assert as_json(workspace, "sync")["busy"]


def test_status_lists_what_waits_and_why(workspace: Workspace) -> None:
    run(workspace, "sync", ADAPTMAN_TRACKING_URI=NOBODY)
    done = run(workspace, "status")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["since", "model", "what", "tries", "last", "error"]
    assert len(lines) == 1 + len(KINDS_TOLD)
    assert "MLflow does not answer at" in lines[1]
    assert done.stderr.endswith("6 not told yet\n")
    shown = as_json(workspace, "status", ADAPTMAN_TRACKING_URI="http://me:secret@host")
    assert shown["tracking_uri"] == "http://me:***@host"
    assert [row["kind"] for row in shown["pending"]] == KINDS_TOLD
    assert [row["attempts"] for row in shown["pending"]] == [1, 0, 0, 0, 0, 0]


def test_status_when_all_is_told(workspace: Workspace) -> None:
    run(workspace, "sync")
    done = run(workspace, "status")
    assert (done.stdout, done.stderr.endswith("knows everything\n")) == ("", True)
    assert as_json(workspace, "status")["pending"] == []


def test_verify_before_and_after(workspace: Workspace) -> None:
    run(workspace, "sync")
    same = run(workspace, "verify")
    assert (same.exit_code, same.stdout) == (0, "")
    assert same.stderr.splitlines()[-1] == "MLflow holds 6 things as told"
    client = connect(workspace.settings.tracking_uri)
    client.set_registered_model_alias("adaptman.shop", "champion", "1")
    client.create_model_version("adaptman.shop", "s3://elsewhere")
    done = run(workspace, "verify", "--deep")
    assert done.exit_code == 1
    header, differs, warned = done.stdout.splitlines()
    assert header.split() == ["model", "version", "what", "told", "found"]
    assert differs.split() == ["differs", "shop", "alias", "`champion`", "v2", "v1"]
    assert warned.split()[:3] == ["warn", "shop", "MLflow's"]
    assert "MLflow differs in 1 thing\n" in done.stderr
    assert "hint: `adaptman lineage sync --full` mends it" in done.stderr
    shown = as_json(workspace, "verify")
    assert (shown["same"], shown["told"], shown["waiting"], len(shown["warnings"])) == (False, 6, 0, 1)
    assert shown["differences"] == [
        {
            "model": "shop",
            "version": None,
            "what": "alias `champion`",
            "expected": "v2",
            "found": "v1",
            "hint": "`adaptman lineage sync --full` mends it",
            "warning": False,
        }
    ]
    mended = run(workspace, "sync", "--full")
    assert mended.stderr.splitlines()[-1] == "MLflow was told 6 things"
    assert run(workspace, "verify").exit_code == 0


def test_verify_that_cannot_be_made(workspace: Workspace) -> None:
    done = run(workspace, "verify", ADAPTMAN_TRACKING_URI=NOBODY)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: MLflow does not answer at" in done.stderr
    waiting = run(workspace, "verify")
    assert waiting.exit_code == 1
    assert "6 things not told yet: run `adaptman lineage sync`" in waiting.stderr


def test_a_store_that_is_not_supported(workspace: Workspace) -> None:
    done = run(workspace, "sync", ADAPTMAN_TRACKING_URI="file:///tmp/mlruns")
    assert done.exit_code == 1
    assert "hint: set `tracking_uri` to a server" in done.stderr


def test_ui_prints_a_command(workspace: Workspace) -> None:
    done = run(workspace, "ui")
    words = shlex.split(done.stdout)
    assert words[0] == "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    assert words[-3:] == ["ui", "--backend-store-uri", workspace.settings.tracking_uri]
    assert run(workspace, "ui", ADAPTMAN_TRACKING_URI=NOBODY).stdout == f"{NOBODY}\n"


def test_ui_names_an_mlflow_that_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert " mlflow ui " in ui_command("sqlite:////x.db")
    monkeypatch.setenv("PATH", "/nowhere")
    assert f" {sys.executable} -m mlflow ui " in ui_command("sqlite:////x.db")


def test_ui_never_prints_a_password() -> None:
    command = ui_command("postgresql://me:secret@host/mlflow")
    assert command.endswith('mlflow ui --backend-store-uri "$ADAPTMAN_TRACKING_URI"')


def test_without_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ("sync", "status"):
        done = CliRunner().invoke(cli, ["--home", str(tmp_path / "none"), "lineage", words], obj=App())
        assert done.exit_code == 1
        assert "hint: run `adaptman init`" in done.stderr
