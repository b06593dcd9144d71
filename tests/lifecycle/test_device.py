"""The setting `device`: which commands heed it, and what is on record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ModelError
from adaptman.learning import capacity, models
from adaptman.lifecycle.capacity import audit_capacity
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.export import export_version
from adaptman.lifecycle.fold import fold_version
from adaptman.lifecycle.reproduce import reproduce_version
from tests.lifecycle.tiny_line import CANDIDATE, SMALL_LADDER, TinyLine, tiny_lines

ACTS: Mapping[str, Callable[[TinyLine], object]] = {
    "update": lambda line: line.update(steps="2"),
    "evaluate": lambda line: evaluate(line.workspace, CANDIDATE, again=True),
    "audit": lambda line: audit_capacity(line.workspace, CANDIDATE, quick=True),
    "fold": lambda line: fold_version(line.workspace, CANDIDATE),
    "reproduce": lambda line: reproduce_version(line.workspace, CANDIDATE),
    "export": lambda line: export_version(line.workspace, CANDIDATE, line.folder / "whole", merged=True),
}


@pytest.mark.parametrize("act", ACTS)
def test_every_command_that_loads_a_model_heeds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line", device="elsewhere")
    used: list[str] = []
    monkeypatch.setattr(models, "use_device", used.append)
    load = models._from_pretrained

    def loaded(*where: Any, **more: Any) -> Any:
        assert set(used) == {"elsewhere"}, "a model is loaded before the device is told"
        return load(*where, **more)

    monkeypatch.setattr(models, "_from_pretrained", loaded)
    monkeypatch.setattr(capacity, "QUICK", SMALL_LADDER)
    ACTS[act](line)
    line.workspace.close()
    assert used


def test_a_device_that_cannot_compute_is_told_before_anything_begins(tmp_path: Path) -> None:
    line = TinyLine.copy(tiny_lines().filled, tmp_path / "line", device="abacus")
    before = line.events()
    with pytest.raises(ModelError, match="torch cannot compute on the device `abacus`"):
        line.update()
    assert (line.events(), line.held_by(), len(line.versions())) == (before, [], 1)
    line.workspace.close()


def test_another_device_is_a_difference_of_the_environment(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = (updated.version().summary or {})["environment"]
    assert then["device"] == "cpu"
    monkeypatch.setattr(models, "hardware", lambda: {**then, "device": "NVIDIA H200"})
    assert reproduce_version(updated.workspace, CANDIDATE).environment == ("device cpu → NVIDIA H200",)


def test_answers_of_another_device_are_not_taken_for_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line", device="elsewhere")
    told: list[str] = []
    monkeypatch.setattr(models, "use_device", told.append)
    evaluate(line.workspace, CANDIDATE)
    assert told, "asked anew"
    told.clear()
    evaluate(line.workspace, CANDIDATE)
    assert not told, "and taken from the record now"
    line.workspace.close()
