"""`lineage verify` finds every kind of damage, and `lineage sync --full` mends it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient

from adaptman.errors import LineageError
from adaptman.lifecycle.mirror import MirrorReport, verify_mirror
from adaptman.lifecycle.outbox import deliver_pending
from adaptman.lifecycle.workspace import Workspace
from adaptman.lineage.books import KEY
from adaptman.lineage.client import connect
from registry.writer_objects import Leaving
from tests.lineage.census import census
from tests.lineage.line import add_challenger, audit_capacity, workspace_with

NAME = "adaptman.shop"


class Bench(NamedTuple):
    """A workspace whose MLflow was told of a base, a champion (2) and a challenger (3)."""

    workspace: Workspace
    client: MlflowClient
    empty_database: Path

    @property
    def database(self) -> Path:
        return self.workspace.settings.home / "mlflow.db"

    def verify(self, *, deep: bool = False) -> MirrorReport:
        return verify_mirror(self.workspace, deep=deep)

    def lines(self, *, deep: bool = False) -> list[tuple[int | None, str, str, str]]:
        return [
            (one.version, one.what, one.expected, one.found) for one in self.verify(deep=deep).differences
        ]

    def experiment(self) -> str:
        found = self.client.get_experiment_by_name(NAME)
        assert found is not None
        return str(found.experiment_id)

    def suite_run(self) -> str:
        wanted = "tags.`adaptman.kind` = 'suite' and tags.`adaptman.version` = '2'"
        (run,) = self.client.search_runs([self.experiment()], wanted)
        return str(run.info.run_id)

    def model(self, number: int) -> str:
        found = self.client.search_logged_models([self.experiment()], f"tags.`{KEY}` = 'version/{number}'")
        return str(found[0].model_id)

    def version(self, number: int) -> str:
        found = self.client.search_model_versions(f"name = '{NAME}' and tags.`adaptman.version` = '{number}'")
        return str(found[0].version)

    def artifacts(self, wanted: str) -> Path:
        (found,) = (self.workspace.settings.home / "mlartifacts").rglob(wanted)
        return found

    def adapter_file(self) -> Path:
        return self.artifacts(f"{self.model(2)}/artifacts/adapter_config.json")

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()


@pytest.fixture(scope="module")
def standing_bench(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("verify") / "home"
    with workspace_with(home, empty_database) as workspace:
        add_challenger(workspace)
        audit_capacity(workspace)
        assert deliver_pending(workspace).pending == 0
        yield Bench(workspace, connect(workspace.settings.tracking_uri), empty_database)


@pytest.fixture
def bench(standing_bench: Bench) -> Bench:
    """Clean before each test, so each must leave it mended."""
    assert standing_bench.lines() == []
    return standing_bench


Line = tuple[int | None, str, str, str]


class Damage(NamedTuple):
    """What somebody does in MLflow, and one line that `verify` must have of it."""

    do: Callable[[Bench], Any]
    line: Line


def _tag(bench: Bench, name: str) -> None:
    bench.client.set_model_version_tag(NAME, bench.version(2), f"adaptman.{name}", "somebody")


DAMAGE: dict[str, Damage] = {
    "the alias was moved": Damage(
        lambda bench: bench.client.set_registered_model_alias(NAME, "champion", bench.version(1)),
        (None, "alias `champion`", "v2", "v1"),
    ),
    "the alias was deleted": Damage(
        lambda bench: bench.client.delete_registered_model_alias(NAME, "previous"),
        (None, "alias `previous`", "v1", "none"),
    ),
    "the challenger was deleted": Damage(
        lambda bench: bench.client.delete_model_version(NAME, bench.version(3)),
        (None, "alias `challenger`", "v3", "none"),
    ),
    "the champion was deleted": Damage(
        lambda bench: bench.client.delete_model_version(NAME, bench.version(2)),
        (2, "registered version", "READY", "none"),
    ),
    "the registered model was deleted": Damage(
        lambda bench: bench.client.delete_registered_model(NAME),
        (None, "registered model", f"`{NAME}`", "none"),
    ),
    "a tag of the version was changed": Damage(
        lambda bench: _tag(bench, "decision"),
        (2, "tag `adaptman.decision` of the registered version", "pass", "somebody"),
    ),
    "why it became champion was changed": Damage(
        lambda bench: _tag(bench, "champion_by"),
        (2, "tag `adaptman.champion_by` of the registered version", "ada@host", "somebody"),
    ),
    "what was found of its capacity was changed": Damage(
        lambda bench: _tag(bench, "capacity"),
        (2, "tag `adaptman.capacity` of the registered version", "room", "somebody"),
    ),
    "a tag of the model was changed": Damage(
        lambda bench: bench.client.set_logged_model_tags(bench.model(2), {"adaptman.kind": "toy"}),
        (2, "tag `adaptman.kind` of the logged model", "update", "toy"),
    ),
    "a tag of the run was changed": Damage(
        lambda bench: bench.client.set_tag(_update(bench), "adaptman.actor", "eve"),
        (2, "tag `adaptman.actor` of the run", "ada@host", "eve"),
    ),
    "the registered model's tag was changed": Damage(
        lambda bench: bench.client.set_registered_model_tag(NAME, "adaptman.champion", "7"),
        (None, "tag `adaptman.champion` of the registered model", "2", "7"),
    ),
    "the logged model was deleted": Damage(
        lambda bench: bench.client.delete_logged_model(bench.model(2)),
        (2, "logged model", "READY", "none"),
    ),
    "the run was deleted": Damage(
        lambda bench: bench.client.delete_run(_update(bench)),
        (2, "run", "FINISHED", "none"),
    ),
    "the suite's run was deleted": Damage(
        lambda bench: bench.client.delete_run(bench.suite_run()),
        (2, "run of suite `target`", "FINISHED", "none"),
    ),
    "the suite's run was set failed": Damage(
        lambda bench: bench.client.set_terminated(bench.suite_run(), "FAILED"),
        (2, "run of suite `target`", "FINISHED", "FAILED"),
    ),
    "the suite's figures are gone": Damage(
        lambda bench: bench.sql(
            "DELETE FROM metrics WHERE key = 'value'", "DELETE FROM latest_metrics WHERE key = 'value'"
        ),
        (2, "metric `value` of the run of suite `target`", "1.0", "none"),
    ),
    "the model's figures are gone": Damage(
        lambda bench: bench.sql("DELETE FROM logged_model_metrics WHERE metric_name = 'suite/target'"),
        (2, "metric `suite/target` of the logged model", "1.0", "none"),
    ),
    "an adapter's file was deleted": Damage(
        lambda bench: bench.adapter_file().unlink(),
        (2, "file `adapter_config.json`", "16 bytes", "none"),
    ),
    "an adapter's file was cut": Damage(
        lambda bench: bench.adapter_file().write_text("{}"),
        (2, "file `adapter_config.json`", "16 bytes", "2 bytes"),
    ),
    "a base's file was deleted": Damage(
        lambda bench: bench.artifacts(f"{bench.model(1)}/artifacts/base.json").unlink(),
        (1, "file `base.json`", "there", "none"),
    ),
    "MLflow was rebuilt": Damage(
        lambda bench: shutil.copyfile(bench.empty_database, bench.database),
        (None, "experiment", f"`{NAME}`", "none"),
    ),
}


def _update(bench: Bench) -> str:
    (run,) = bench.client.search_runs([bench.experiment()], f"tags.`{KEY}` = 'version/2'")
    return str(run.info.run_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_said_and_mended(name: str, bench: Bench) -> None:
    damage = DAMAGE[name]
    damage.do(bench)
    report = bench.verify()
    assert damage.line in bench.lines()
    assert not report.same
    assert {one.hint for one in report.differences} == {"`adaptman lineage sync --full` mends it"}
    mended = deliver_pending(bench.workspace, full=True)
    assert (mended.pending, mended.error) == (0, None)
    assert bench.lines() == []


@pytest.mark.slow
def test_bytes_that_changed_are_found_by_reading_them(bench: Bench) -> None:
    assert bench.lines(deep=True) == []
    file = bench.adapter_file()
    file.write_bytes(file.read_bytes().replace(b"shop", b"shoq"))
    assert bench.lines() == []
    (found,) = bench.verify(deep=True).differences
    assert (found.version, found.what) == (2, "sha256 of file `adapter_config.json`")
    assert f"delete the logged model `{bench.model(2)}`" in found.hint
    bench.client.delete_logged_model(bench.model(2))
    deliver_pending(bench.workspace, full=True)
    assert bench.lines(deep=True) == []


@pytest.mark.slow
def test_a_version_that_is_replaced_keeps_everybodys_aliases(bench: Bench) -> None:
    former = bench.version(2)
    bench.client.set_registered_model_alias(NAME, "production", former)
    bench.client.delete_logged_model(bench.model(2))
    deliver_pending(bench.workspace, full=True)
    (registered,) = census(bench.client)["registered"]
    kept = bench.version(2)
    assert kept != former
    assert (registered["aliases"]["production"], registered["aliases"]["champion"]) == (kept, kept)
    bench.client.delete_registered_model_alias(NAME, "production")


@pytest.mark.slow
def test_mlflow_restored_from_an_old_backup(tmp_path: Path, empty_database: Path) -> None:
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        deliver_pending(workspace)
        database = workspace.settings.home / "mlflow.db"
        shutil.copyfile(database, tmp_path / "backup.db")
        add_challenger(workspace)
        deliver_pending(workspace)
        shutil.copyfile(tmp_path / "backup.db", database)
        report = verify_mirror(workspace)
        assert {one.version for one in report.differences} == {None, 3}
        deliver_pending(workspace, full=True)
        assert verify_mirror(workspace).same


def test_a_full_sync_of_what_stands_changes_nothing(bench: Bench) -> None:
    before = census(bench.client)
    with bench.workspace.registry.read() as reader:
        rows = reader.outbox_rows()
    report = deliver_pending(bench.workspace, full=True)
    assert (report.delivered, report.pending) == (len(rows), 0)
    assert census(bench.client) == before
    with bench.workspace.registry.read() as reader:
        assert [(row.key, row.result) for row in reader.outbox_rows()] == [
            (row.key, row.result) for row in rows
        ]


def test_somebody_elses_version_is_a_warning(bench: Bench) -> None:
    made = bench.client.create_model_version(NAME, "s3://somewhere/else")
    bench.client.set_model_version_tag(NAME, made.version, "adaptman.version", "99")
    report = bench.verify()
    (found,) = report.warnings
    assert (found.what, found.found) == (f"MLflow's version {made.version}", "source `s3://somewhere/else`")
    assert report.same
    bench.client.delete_model_version(NAME, made.version)


def test_a_file_that_nobody_told_is_a_warning(bench: Bench) -> None:
    extra = bench.adapter_file().with_name("notes.txt")
    extra.write_text("mine")
    report = bench.verify()
    assert [(one.version, one.what) for one in report.warnings] == [(2, "file `notes.txt`")]
    assert report.same
    extra.unlink()


def test_a_second_run_with_our_key_is_said(bench: Bench) -> None:
    copy = bench.client.create_run(bench.experiment(), tags={KEY: "version/2"})
    (found,) = bench.verify().differences
    assert (found.version, found.what, found.expected, found.found) == (2, "run", "1", "2 of them")
    assert "too many" in found.hint
    bench.client.set_tag(copy.info.run_id, KEY, "copy")


def test_a_deleted_experiment_is_said_with_the_way_out(bench: Bench) -> None:
    experiment = bench.experiment()
    bench.client.delete_experiment(experiment)
    (found,) = bench.verify().differences
    assert (found.what, found.found) == ("experiment", "deleted")
    assert found.hint == f"run `mlflow experiments restore --experiment-id {experiment}`"
    bench.client.restore_experiment(experiment)


def test_another_registrys_experiment_is_said(bench: Bench) -> None:
    ours = bench.client.get_experiment(bench.experiment()).tags["adaptman.registry"]
    bench.client.set_experiment_tag(bench.experiment(), "adaptman.registry", "e" * 64)
    (found,) = bench.verify().differences
    assert (found.what, found.expected, found.found) == ("owner of the experiment", ours[:12], "e" * 12)
    bench.client.set_experiment_tag(bench.experiment(), "adaptman.registry", ours)


def test_what_waits_is_not_called_different_but_not_the_same_either(
    tmp_path: Path, empty_database: Path
) -> None:
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        deliver_pending(workspace)
        number = add_challenger(workspace)
        report = verify_mirror(workspace)
        assert (report.differences, report.waiting, report.same) == ([], 3, False)
        deliver_pending(workspace)
        found = census(connect(workspace.settings.tracking_uri))["registered"][0]
        assert found["aliases"]["challenger"] == str(number)


def test_it_is_never_clean_when_it_could_not_be_checked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = bench.workspace.settings
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path / 'none.db'}"):
        asked = Workspace(settings.model_copy(update={"tracking_uri": uri}))
        with asked, pytest.raises(LineageError):
            verify_mirror(asked)
    assert not (tmp_path / "none.db").exists()
    monkeypatch.setattr(MlflowClient, "search_logged_models", lambda *_, **__: 1 / 0)
    with pytest.raises(LineageError, match="could not be asked about `shop`"):
        bench.verify()


def test_a_version_whose_adapter_was_removed_is_told_without_it(tmp_path: Path, empty_database: Path) -> None:
    """MLflow that kept the files is right, and so is one that was filled again after they were gone."""
    with workspace_with(tmp_path / "home", empty_database) as workspace:
        assert deliver_pending(workspace).pending == 0
        with workspace.registry.read() as reader:
            adapter = reader.adapter(reader.version(reader.model("shop").id, 2).adapter_id or 0).tree_digest
        leaving = [Leaving(adapter, 1, "refused for 90 days")]
        workspace.registry.write(
            lambda writer: writer.collect(leaving, policy_name="retention", policy_digest="d" * 64)
        )
        shutil.rmtree(workspace.settings.home / "objects" / adapter[:2])
        assert verify_mirror(workspace, deep=True).same
        shutil.copyfile(empty_database, workspace.settings.home / "mlflow.db")
        assert not verify_mirror(workspace).same
        assert deliver_pending(workspace, full=True).pending == 0
        assert verify_mirror(workspace, deep=True).same
        client = connect(workspace.settings.tracking_uri)
        [note] = (workspace.settings.home / "mlartifacts").rglob("removed.json")
        assert "refused for 90 days" in note.read_text()
        assert client.get_model_version_by_alias(NAME, "champion").tags["adaptman.version"] == "2"
