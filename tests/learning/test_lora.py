"""Fused LoRA layers give what PEFT's own give, forward and backward."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from adaptman.learning import lora
from tests.learning.tiny import make_tiny_checkpoint

EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def adapted(base: Path, **settings: Any) -> PeftModel:
    """A model whose adapter does something: B is not zero."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=EVERYWHERE, **settings)
    return fill(get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config))


def fill(model: PeftModel) -> PeftModel:
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_(std=0.1)
    return model


def biased() -> Qwen2ForCausalLM:
    """Qwen 2 has biases in its attention."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.4,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            value.data.normal_()
    return model


def with_biases() -> PeftModel:
    return fill(get_peft_model(biased(), LoraConfig(r=4, target_modules=EVERYWHERE)))


def logits_and_gradients(model: PeftModel) -> dict[str, Tensor]:
    logits = model(input_ids=torch.arange(24).view(2, 12)).logits
    logits.square().mean().backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {**found, "logits": logits.detach()}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda base: adapted(base), id="llama"),
        pytest.param(lambda base: with_biases(), id="biases"),
    ],
)
def test_logits_and_gradients_are_those_of_peft(base: Path, build: Callable[[Path], PeftModel]) -> None:
    plain, fused = build(base), build(base)
    layers = lora.fuse(fused, frozen=torch.float32)
    assert layers == 7 * fused.config.num_hidden_layers
    wanted, found = logits_and_gradients(plain), logits_and_gradients(fused)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_frozen_weights_in_bf16_are_near(base: Path) -> None:
    plain, fused = adapted(base), adapted(base)
    lora.fuse(fused, frozen=torch.bfloat16)
    wanted, found = logits_and_gradients(plain)["logits"], logits_and_gradients(fused)["logits"]
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted)
    assert float((found - wanted).square().mean() / wanted.square().mean()) < 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="it reads what is mapped from /proc")
@pytest.mark.parametrize("make", [make_tiny_checkpoint, lambda folder: biased().save_pretrained(folder)])
def test_in_bf16_the_checkpoints_file_does_not_stay_in_memory(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """The fp32 weights lie in it, and nothing reads them any more."""
    make(tmp_path)
    fused = adapted(tmp_path)
    assert is_mapped(tmp_path)
    lora.fuse(fused, frozen=torch.bfloat16)
    assert not is_mapped(tmp_path)
    assert fused.get_base_model().lm_head.weight.dtype == torch.float32


def test_few_adapted_layers_are_no_reason_to_copy_the_rest(tmp_path: Path) -> None:
    make_tiny_checkpoint(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    fused = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"]))
    lora.fuse(fused, frozen=torch.bfloat16)
    assert is_mapped(tmp_path)


def is_mapped(folder: Path) -> bool:
    return str(folder.resolve()) in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_layers_of_another_kind_keep_their_own_way(base: Path, settings: dict[str, Any]) -> None:
    assert lora.fuse(adapted(base, **settings), frozen=torch.float32) == 0
