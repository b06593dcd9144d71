"""Models on a device that is not the CPU: what is computed there is what is computed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ModelError
from adaptman.learning import models, trainer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.recipe import Recipe
from tests.learning.on_both import RECIPES


@pytest.fixture(scope="module")
def found(
    base: Path, renderer: ChatRenderer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What `on_both` prints."""
    item = renderer.answered([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], ())
    folder = tmp_path_factory.mktemp("devices")
    parent = trainer.train(base, None, [item], None, Recipe(steps=2), folder / "parent").adapter
    asked = [sys.executable, "-m", "tests.learning.on_both", str(base), str(parent), str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return told


def test_replay_is_drawn_as_on_the_cpu(found: dict[str, dict[str, Any]]) -> None:
    here, there = found["cpu"], found["standin"]
    assert (here["device"], there["device"]) == ("cpu", "standin")
    assert (here["packs"], there["packs"]) == (True, True), "packing would hide what is refused"
    assert there["replay"] == here["replay"]
    assert there["logits"] == pytest.approx(here["logits"], rel=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_an_update_comes_out_as_on_the_cpu(found: dict[str, dict[str, Any]], name: str) -> None:
    here, there = found["cpu"][name], found["standin"][name]
    assert there["replies"] == here["replies"]
    for figure in ("new", "kept", "nll"):
        assert there[figure] == pytest.approx(here[figure], rel=1e-3, abs=1e-4)
    # Adam's first steps go by the sign of a gradient, which rounding decides where it is next to nothing.
    assert there["drift"] == pytest.approx(here["drift"], rel=1e-3, abs=2e-3)
    assert here["kept"][-1] > 1e-4, "there is something to compare"
    assert here["new"][-1] != here["new"][0]


def test_the_stand_in_refuses_tensors_of_two_devices(found: dict[str, Any]) -> None:
    assert "aten::add: tensors on `standin` and on the CPU" in found["refusal"]


def test_a_device_in_use_is_on_record(found: dict[str, Any]) -> None:
    assert found["hardware"]["device"].startswith("standin")
    assert models.hardware()["device"] == "cpu"


@pytest.mark.parametrize("name", ["abacus", "cuda:77", "meta"])
def test_a_device_that_cannot_compute_is_told(name: str) -> None:
    with pytest.raises(ModelError, match=f"torch cannot compute on the device `{name}`: ") as told:
        models.use_device(name)
    assert "`device" in str(told.value.hint)
    assert models.hardware()["device"] == "cpu", "what was in use stays in use"
