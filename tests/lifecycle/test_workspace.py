"""Making and opening a workspace."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.workspace import Workspace, sqlite_file
from tests.lifecycle.story import Story, settings
from tests.nobody import as_nobody, locked_folder


def test_create_makes_folders_and_keeps_them_out_of_git(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    with Workspace.create(settings(home)) as workspace:
        assert workspace.settings.objects.is_dir()
        assert (home / ".gitignore").read_text().splitlines()[-1] == "*"
        with workspace.registry.read() as reader:
            assert reader.models() == []


def test_create_again_keeps_what_stands(begun: Story) -> None:
    home = begun.workspace.settings.home
    (home / ".gitignore").write_text("mine\n")
    with Workspace.create(begun.workspace.settings) as again:
        assert again.model_row().name == "default"
    assert (home / ".gitignore").read_text() == "mine\n"


def test_create_at_the_same_time(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "home")
    failures: list[Exception] = []

    def create() -> None:
        try:
            Workspace.create(chosen).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Workspace.open(chosen).registry is not None


def test_open_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError) as raised:
        Workspace.open(settings(tmp_path / "home"))
    assert raised.value.hint == "run `adaptman init` to make one"


def test_open_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(WorkspaceError):
        Workspace.open(settings(tmp_path / "home"))
    assert list((tmp_path / "home").iterdir()) == []


def test_a_home_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written: Not a directory") as raised:
        Workspace.create(settings(tmp_path / "file" / "home"))
    assert "--home DIR" in raised.value.hint


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written: Not a directory"):
        Workspace.create(settings(tmp_path / "home"))


def test_a_home_that_is_not_writable() -> None:
    with (
        locked_folder() as home,
        as_nobody(),
        pytest.raises(WorkspaceError, match="cannot be written: Permission denied"),
    ):
        Workspace.create(settings(home))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="there is no /sys")
def test_a_home_where_nobody_may_write() -> None:
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Workspace.create(settings(Path("/sys/adaptman")))


def test_a_workspace_without_a_model(tmp_path: Path) -> None:
    with (
        Workspace.create(settings(tmp_path / "home")) as workspace,
        pytest.raises(WorkspaceError, match="has no model yet"),
    ):
        workspace.model_row()


def test_another_model_line(begun: Story) -> None:
    other = Workspace.open(settings(begun.workspace.settings.home, model="other"))
    with other, pytest.raises(WorkspaceError, match="no model line `other`") as raised:
        other.model_row()
    assert "`default`" in raised.value.hint


def test_the_policy_in_force(begun: Story) -> None:
    assert begun.workspace.policy().name == "default"


def test_closed_and_used_again(begun: Story) -> None:
    begun.workspace.close()
    begun.workspace.close()
    assert begun.workspace.model_row().name == "default"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////a/b.db", Path("/a/b.db")),
        ("sqlite:///b.db", Path("b.db")),
        ("sqlite+pysqlite:////a/b.db?mode=ro", Path("/a/b.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://db/x", None),
        ("nonsense", None),
    ],
)
def test_the_file_behind_a_url(url: str, path: Path | None) -> None:
    assert sqlite_file(url) == path
