"""What is exported is what PEFT and transformers load, with the version's own logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from adaptman.errors import ArtifactError, ModelError, TrainingError
from adaptman.learning import models
from adaptman.lifecycle import engine
from adaptman.lifecycle.export import export_version
from registry.errors import NotFoundError
from tests.lifecycle.tiny_line import CANDIDATE, Killed, TinyLine

IDS = torch.arange(1, 25)[None]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def own_logits(line: TinyLine, number: int = CANDIDATE) -> torch.Tensor:
    """Of the version as suites ask it, in full precision."""
    version = line.version(number)
    loaded = models.load(
        engine.base_path(line.workspace, version), engine.adapter_path(line.workspace, version)
    )
    return logits(loaded.model)


def test_the_adapter_is_what_peft_loads(updated: TinyLine) -> None:
    done = export_version(updated.workspace, CANDIDATE, updated.folder / "out", merged=False)
    base = AutoModelForCausalLM.from_pretrained(engine.base_path(updated.workspace, updated.version()))
    own = own_logits(updated)
    assert (logits(base) - own).abs().max() > 1e-2
    found = logits(PeftModel.from_pretrained(base, str(done.target)))
    # An adapter beside the weights rounds otherwise than one merged into them.
    torch.testing.assert_close(found, own, atol=1e-5 * float(own.abs().max()), rtol=1e-5)


def test_the_merged_checkpoint_is_what_transformers_loads(updated: TinyLine) -> None:
    done = export_version(updated.workspace, CANDIDATE, updated.folder / "out", merged=True)
    found = logits(AutoModelForCausalLM.from_pretrained(done.target))
    torch.testing.assert_close(found, own_logits(updated), atol=1e-5, rtol=0)
    assert models.load_tokenizer(done.target).chat_template


def test_the_base_can_be_exported_whole(updated: TinyLine) -> None:
    done = export_version(updated.workspace, 1, updated.folder / "deep" / "out", merged=True)
    found = logits(AutoModelForCausalLM.from_pretrained(done.target))
    torch.testing.assert_close(found, own_logits(updated, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("merged", [False, True])
def test_what_is_exported_belongs_to_the_user(updated: TinyLine, merged: bool) -> None:
    target = export_version(updated.workspace, CANDIDATE, updated.folder / "out", merged=merged).target
    assert target.stat().st_mode & 0o777 == 0o755
    stored = {path.stat().st_ino for path in updated.workspace.settings.objects.rglob("*")}
    for path in target.rglob("*"):
        assert path.stat().st_mode & 0o600 == 0o600
        assert path.stat().st_ino not in stored


def test_the_base_has_no_adapter(updated: TinyLine) -> None:
    with pytest.raises(ModelError, match="version 1 has no adapter") as raised:
        export_version(updated.workspace, 1, updated.folder / "out", merged=False)
    assert "--merged" in raised.value.hint
    assert not (updated.folder / "out").exists()


def test_a_target_that_exists(updated: TinyLine) -> None:
    empty, link = updated.folder / "empty", updated.folder / "link"
    empty.mkdir()
    link.symlink_to(updated.folder / "nowhere")
    for target in (empty, link):
        with pytest.raises(ModelError, match="exists already") as raised:
            export_version(updated.workspace, CANDIDATE, target, merged=False)
        assert raised.value.hint


@pytest.mark.parametrize("merged", [False, True])
def test_a_version_that_failed(filled: TinyLine, merged: bool) -> None:
    with pytest.raises(TrainingError):
        filled.update(lr="1e30", replay__kind="none")
    with pytest.raises(ModelError, match="version 2 is `failed`: it has no weights"):
        export_version(filled.workspace, CANDIDATE, filled.folder / "out", merged=merged)


def test_no_such_version(updated: TinyLine) -> None:
    with pytest.raises(NotFoundError, match="no version `9`"):
        export_version(updated.workspace, 9, updated.folder / "out", merged=True)


def test_a_damaged_adapter(updated: TinyLine) -> None:
    store = updated.workspace.store
    store.path_of(store.tree(updated.adapter())["adapter_model.safetensors"].sha256).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        export_version(updated.workspace, CANDIDATE, updated.folder / "out", merged=False)


def test_killed_half_way_leaves_nothing(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(base: Path, adapter: Path | None, target: Path) -> None:
        (target / "config.json").write_text("{}")
        raise Killed

    monkeypatch.setattr(models, "export_merged", die)
    (updated.folder / "exports").mkdir()
    with pytest.raises(Killed):
        export_version(updated.workspace, CANDIDATE, updated.folder / "exports" / "out", merged=True)
    assert list((updated.folder / "exports").iterdir()) == []
