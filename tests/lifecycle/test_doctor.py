"""The doctor's checks against real damage; the golden files show how they read."""

from __future__ import annotations

import socket
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from adaptman.lifecycle.doctor import (
    Finding,
    Probes,
    Status,
    default_probes,
    examine,
    probe_mlflow,
    why_not_connected,
)
from tests.lifecycle.story import Story, settings
from tests.lifecycle.test_lease import dead_pid


def probes() -> Probes:
    """The real world, but for MLflow and the embedded model."""
    return replace(default_probes(), mlflow=lambda uri: None, embedded_model=lambda: Path(__file__))


def findings(story: Story, asked: Probes | None = None) -> dict[str, Finding]:
    found = examine(story.workspace.settings, clock=story.clock, probes=asked or probes())
    return {finding.check: finding for finding in found}


def test_all_is_well(told: Story) -> None:
    assert {finding.status for finding in findings(told).values()} <= {Status.OK, Status.WARN}
    assert findings(told)["champion"].text == "version 3 of `default`, its 2 artifacts are intact"


def test_without_a_workspace(tmp_path: Path) -> None:
    found = {one.check: one for one in examine(settings(tmp_path / "home"), probes=probes())}
    assert (found["home"].status, found["home"].hint) == (Status.WARN, "run `adaptman init`")
    assert "registry" not in found
    assert not (tmp_path / "home").exists()


def test_a_workspace_without_a_model(begun: Story) -> None:
    found = examine(
        settings(begun.workspace.settings.home, model="other"), clock=begun.clock, probes=probes()
    )
    assert (
        Finding("champion", Status.WARN, "model line `other` has no champion yet", "run `adaptman init`")
        in found
    )


def test_a_missing_object(told: Story) -> None:
    base = told.workspace.store.tree(told.model.base_digest)
    told.workspace.store.path_of(base["config.json"].sha256).unlink()
    assert findings(told)["champion"].status is Status.FAIL


def test_a_registry_of_another_age(told: Story) -> None:
    from registry import migrate

    told.workspace.close()
    migrate.downgrade(told.workspace.settings.registry_url, "base")
    found = findings(told)
    assert found["registry"].status is Status.FAIL
    assert "adaptman db upgrade" in found["registry"].hint
    assert "events" not in found


def test_a_registry_that_was_altered(told: Story) -> None:
    with sqlite3.connect(told.workspace.settings.home / "registry.db") as database:
        database.execute("DROP TRIGGER event_no_update")
        assert findings(told)["registry"].status is Status.FAIL


def test_a_row_that_was_altered(told: Story) -> None:
    assert findings(told)["events"].status is Status.OK
    with sqlite3.connect(told.workspace.settings.home / "registry.db") as database:
        database.execute("UPDATE model_version SET state = 'retired' WHERE number = 2")
    found = findings(told)["events"]
    assert found.status is Status.FAIL
    assert 'row `2` of `model_version` has state `"retired"`' in found.text


def test_a_registry_that_is_gone(told: Story) -> None:
    told.workspace.close()
    (told.workspace.settings.home / "registry.db").unlink()
    assert findings(told)["registry"].status is Status.FAIL


@pytest.mark.parametrize(("free", "status"), [(1, Status.FAIL), (10**9, Status.WARN), (10**11, Status.OK)])
def test_free_space(free: int, status: Status, told: Story) -> None:
    assert findings(told, replace(probes(), free_bytes=lambda folder: free))["home"].status is status


def test_a_home_that_cannot_be_written(told: Story, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = examine(settings(told.workspace.settings.home, objects=tmp_path / "file"), probes=probes())
    assert [one.status for one in found if one.check == "home"] == [Status.FAIL]


def test_a_live_lease_is_no_abandoned_version(told: Story) -> None:
    told.workspace.registry.write(lambda writer: writer.acquire_lease(told.model.id, "bob@lab:1", 60.0))
    assert findings(told)["leases"].text == "`bob@lab:1` is at work"
    told.clock.forward(minutes=2)
    assert findings(told)["leases"].status is Status.WARN


def test_a_lease_of_a_process_that_died_here_is_told_at_once(told: Story) -> None:
    holder = f"pid {dead_pid()} on {socket.gethostname()}: update"
    told.workspace.registry.write(lambda writer: writer.acquire_lease(told.model.id, holder, 60.0))
    assert findings(told)["leases"].status is Status.WARN


def test_a_package_that_is_missing_is_named(told: Story) -> None:
    asked = replace(probes(), package_version=lambda name: None if name == "filelock" else "1.2.3")
    found = findings(told, asked)["packages"]
    assert (found.status, found.text) == (Status.FAIL, "missing: filelock")


def test_a_young_outbox_is_no_warning_and_an_old_one_is(begun: Story) -> None:
    assert findings(begun)["outbox"].status is Status.OK
    begun.clock.forward(hours=2)
    assert findings(begun)["outbox"].status is Status.WARN


def test_an_outbox_that_failed_says_why(begun: Story) -> None:
    said = "no answer from http://ada:s3cret@mlflow.invalid"
    begun.workspace.registry.write(
        lambda writer: [writer.outbox_failed(row.id, said) for row in writer.outbox_pending()]
    )
    found = findings(begun)["outbox"]
    assert found.status is Status.WARN
    assert found.text.endswith("last error: no answer from http://ada:***@mlflow.invalid")


def test_a_check_that_cannot_be_made_is_a_finding(told: Story) -> None:
    def broken(folder: Path) -> int:
        raise OSError(5, "Input/output error", "/data")

    found = findings(told, replace(probes(), free_bytes=broken))["home"]
    assert (found.status, found.text) == (Status.FAIL, "`/data`: Input/output error")


def test_a_postgres_registry_needs_psycopg(told: Story) -> None:
    chosen = settings(told.workspace.settings.home, registry_url="postgresql://127.0.0.1:1/none")
    absent = replace(probes(), package_version=lambda name: None if name == "psycopg" else "1")
    found = {one.check: one for one in examine(chosen, probes=absent)}
    assert (found["packages"].text, found["packages"].hint) == (
        "missing: psycopg",
        "install `adaptman[postgres]`",
    )
    assert found["registry"].status is Status.FAIL


def test_a_tracking_server_that_never_answers_is_waited_for_a_bounded_time() -> None:
    end = threading.Event()

    def ask(uri: str) -> str | None:
        end.wait()
        return None

    assert probe_mlflow("http://mlflow.invalid", seconds=0.01, ask=ask) == (
        "`http://mlflow.invalid` did not answer within 0.01 s"
    )
    end.set()


@pytest.mark.slow
def test_a_tracking_server_that_is_not_there() -> None:
    reason = why_not_connected("http://ada:s3cret@127.0.0.1:1")
    assert reason is not None
    assert reason.startswith("MLflow does not answer at")
