"""Making a workspace on a real checkpoint, and on what is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adaptman.artifacts.store import ObjectStore
from adaptman.errors import AdaptmanError, ModelError, WorkspaceError
from adaptman.lifecycle import init
from adaptman.lifecycle.init import initialise
from adaptman.lifecycle.workspace import Workspace
from registry.writer import Writer
from tests.learning.tiny import make_tiny_checkpoint
from tests.lifecycle.story import Clock, settings
from tests.lifecycle.tiny_line import Killed, TinyLine
from tests.nobody import as_nobody, locked_folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    make_tiny_checkpoint(tmp_path / "tiny")
    return tmp_path / "tiny"


def events(home: Path) -> list[str]:
    with Workspace.open(settings(home)) as workspace, workspace.registry.read() as reader:
        return [event.kind for event in reader.events()]


def test_the_base_becomes_version_one_and_champion(tmp_path: Path, tiny: Path) -> None:
    said: list[str] = []
    done = initialise(settings(tmp_path / "home"), base=str(tiny), clock=Clock(), on_progress=said.append)
    assert (done.created, done.version.number, done.version.state) == (True, 1, "champion")
    assert done.model.base_source == str(tiny)
    assert done.model.base_info["model_type"] == "llama"
    assert done.model.base_info["parameters"] > 1000
    assert said == [f"converting {tiny} to safetensors (once)"]
    store = ObjectStore(tmp_path / "home" / "objects")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(store.tree(done.version.base_digest))


def test_a_second_init_changes_nothing(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = initialise(settings(tmp_path / "home"), base=str(tiny))
    before = events(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    for base in (str(tiny), "tiny", None):
        again = initialise(settings(tmp_path / "home"), base=base)
        assert (again.created, again.model.id, again.version.id) == (False, first.model.id, first.version.id)
    assert events(tmp_path / "home") == before


def test_another_base_for_the_same_line_is_refused(tmp_path: Path, tiny: Path) -> None:
    initialise(settings(tmp_path / "home"), base=str(tiny))
    make_tiny_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(WorkspaceError, match=f"`default` stands on `{tiny}` already") as raised:
        initialise(settings(tmp_path / "home"), base=str(tmp_path / "other"))
    assert "--model NAME" in raised.value.hint


def test_a_second_line_in_the_same_home(tmp_path: Path, tiny: Path) -> None:
    initialise(settings(tmp_path / "home"), base=str(tiny))
    make_tiny_checkpoint(tmp_path / "other", seed=1)
    done = initialise(settings(tmp_path / "home", model="other"), base=str(tmp_path / "other"))
    assert (done.created, done.version.number) == (True, 1)


def no_checkpoint(folder: Path) -> str:
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing here")
    return str(folder)


def only_pickles(folder: Path) -> str:
    make_tiny_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    return str(folder)


def torn_weights(folder: Path) -> str:
    make_tiny_checkpoint(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    return str(folder)


def no_template(folder: Path) -> str:
    make_tiny_checkpoint(folder)
    (folder / "chat_template.jinja").unlink()
    return str(folder)


BASES: list[tuple[Callable[[Path], str], str]] = [
    (no_checkpoint, "is not a checkpoint"),
    (only_pickles, "only pickles"),
    (torn_weights, "no causal language model could be loaded"),
    (no_template, "has no chat template"),
    (str, "is not a directory"),
    (lambda folder: "nobody/no-such-model", "neither a path nor a model that could be downloaded"),
]


@pytest.mark.parametrize(("make", "told"), BASES, ids=[told for _, told in BASES])
def test_a_base_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], str], told: str) -> None:
    with pytest.raises(ModelError, match=told) as raised:
        initialise(settings(tmp_path / "home"), base=make(tmp_path / "base"))
    assert raised.value.hint
    assert "\n" not in raised.value.message
    assert events(tmp_path / "home") == []
    assert not (tmp_path / "home" / "tmp" / "base").exists()


def test_a_home_that_is_a_file(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        initialise(settings(tmp_path / "home"), base=str(tiny))
    assert (tmp_path / "home").read_text() == "a file"


def test_a_home_that_is_not_writable(tiny: Path) -> None:
    with locked_folder() as locked, as_nobody():
        for home in (locked, locked / "home"):
            with pytest.raises(WorkspaceError, match="cannot be written: Permission denied") as raised:
                initialise(settings(home), base=str(tiny))
            assert "--home" in raised.value.hint


def test_a_home_on_a_file_system_of_the_kernel(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be written") as raised:
        initialise(settings(Path("/proc/adaptman")), base=str(tiny))
    assert "--home" in raised.value.hint


def die(*arguments: object, **values: object) -> None:
    raise Killed


@pytest.mark.parametrize(("owner", "name"), [(ObjectStore, "put_tree"), (Writer, "add_base_version")])
def test_killed_half_way_and_run_again(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, die)
        with pytest.raises(Killed):
            initialise(settings(tmp_path / "home"), base=str(tiny))
    assert events(tmp_path / "home") == []
    done = initialise(settings(tmp_path / "home"), base=str(tiny))
    assert (done.created, done.version.number) == (True, 1)
    assert events(tmp_path / "home").count("model.added") == 1


def test_two_inits_at_once_make_one_line(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waited finds that the other has registered the line."""
    home, store_base = settings(tmp_path / "home"), init._store_base
    registered = init._registered
    looks: list[bool] = []

    def other_comes_first(workspace: Workspace) -> init.Initialised | None:
        looks.append(True)
        if len(looks) == 2:  # the second look is the one behind the lock
            init._register(workspace, *_stored(workspace), str(tiny), {})
        return registered(workspace)

    def _stored(workspace: Workspace) -> tuple[str]:
        return (store_base(workspace, str(tiny), lambda line: None)[0],)

    with monkeypatch.context() as patch:
        patch.setattr(init, "_registered", other_comes_first)
        patch.setattr(init, "_store_base", die)
        assert not initialise(home, base=str(tiny)).created
    assert events(tmp_path / "home").count("version.base") == 1


def test_what_was_made_is_a_workspace(filled: TinyLine) -> None:
    assert isinstance(filled.workspace.model_row().base_digest, str)
    with pytest.raises(AdaptmanError):
        Workspace.open(settings(filled.folder / "elsewhere"))
