"""An update of all weights: its version is a checkpoint of its own, and goes on like one that was folded."""

from __future__ import annotations

import pytest

from adaptman.errors import ModelError
from adaptman.lifecycle import engine
from adaptman.lifecycle.export import export_version
from adaptman.lifecycle.fold import fold_version
from adaptman.lifecycle.reproduce import reproduce_version
from tests.lifecycle.tiny_line import CANDIDATE, Killed, Recorder, TinyLine

FULL = {"adapter": "full", "lr": "1e-3"}


@pytest.fixture
def trained(filled: TinyLine) -> TinyLine:
    """Version 2 was trained whole, and judged."""
    filled.update(**FULL)
    return filled


def test_it_is_a_checkpoint_of_its_own(trained: TinyLine) -> None:
    version, base = trained.version(), trained.version(1)
    assert (version.state, version.adapter_id, version.has_own_checkpoint) == ("refused", None, True)
    assert version.base_digest != base.base_digest
    assert engine.adapter_path(trained.workspace, version) is None
    with trained.workspace.registry.read() as reader:
        assert reader.replay_set(version.replay_set_id or 0).count == 4
        assert len(reader.suite_runs(version.id)) == 2
        assert reader.verify_tables().ok
    export_version(trained.workspace, CANDIDATE, trained.folder / "out", merged=True)
    with pytest.raises(ModelError, match="nothing to fold"):
        fold_version(trained.workspace, CANDIDATE)


def test_reproduced(trained: TinyLine) -> None:
    done = reproduce_version(trained.workspace, CANDIDATE)
    assert (done.identical, done.weights.now) == (True, trained.version().base_digest)


def test_a_killed_run_goes_on(filled: TinyLine, trained_digest: str) -> None:
    with pytest.raises(Killed):
        filled.update(progress=Recorder("training", 3), **FULL)
    assert filled.version().state == "training"
    with pytest.raises(ModelError, match="it has no weights"):
        engine.load_version(filled.workspace, filled.version())
    filled.update(**FULL)
    assert filled.version().base_digest == trained_digest


@pytest.fixture
def trained_digest(filled: TinyLine, tmp_path_factory: pytest.TempPathFactory) -> str:
    other = TinyLine.copy(filled, tmp_path_factory.mktemp("undisturbed") / "line")
    other.update(**FULL)
    other.workspace.close()
    return other.version().base_digest


@pytest.mark.parametrize("kind", ["continue", "grow", "fresh"])
def test_an_adapter_may_follow(trained: TinyLine, kind: str) -> None:
    trained.second_tools()
    done = trained.update(2, adapter=kind)
    assert done.version.base_digest == trained.version().base_digest
    assert done.version.adapter_id is not None
    assert export_version(trained.workspace, 3, trained.folder / "out", merged=False).base == CANDIDATE


def test_it_may_follow_an_adapter(updated: TinyLine) -> None:
    updated.second_tools()
    done = updated.update(2, **FULL)
    assert done.version.has_own_checkpoint
    assert reproduce_version(updated.workspace, 3).identical
