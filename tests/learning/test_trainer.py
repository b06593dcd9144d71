"""Training: each step is the plain one, a killed run ends as one that was not, replay holds the model."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import re
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from adaptman.errors import TrainingError
from adaptman.learning import models, objective, trainer
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.learning.drawing import generate
from adaptman.learning.limits import peak_memory_mib
from adaptman.learning.models import LoadedModel
from adaptman.learning.recipe import LoraRecipe, Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySample, ReplaySet
from adaptman.learning.trainer import StepMetrics, Trained, learning_rate, train

RECIPE = Recipe(
    steps=8,
    batch_size=3,
    lr=1e-2,
    checkpoint_every=3,
    lora=LoraRecipe(rank=4, alpha=8),
    replay=ReplayRecipe(samples=10, batch_size=2, max_tokens=8, top_k=267),
)


def encode(renderer: ChatRenderer, *pairs: tuple[str, str]) -> list[Encoded]:
    return [
        renderer.answered([{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], ())
        for asked, answer in pairs
    ]


@pytest.fixture(scope="module")
def examples(renderer: ChatRenderer) -> list[Encoded]:
    """Of different lengths, so that batches are padded."""
    return encode(
        renderer, ("a", "yes"), ("is it so", "no"), ("b", "perhaps not"), ("the other", "in the call")
    )


@pytest.fixture(scope="module")
def replay(loaded: LoadedModel, renderer: ChatRenderer) -> ReplaySet:
    return generate(loaded, renderer, RECIPE.replay, (), 0)


def digest(trained: Trained) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in trained.adapter.iterdir()}


class KilledError(Exception):
    """Stands for whatever ends a process."""


def kill_at(step: int) -> Callable[[StepMetrics], None]:
    def on_step(metrics: StepMetrics) -> None:
        if metrics.step == step:
            raise KilledError

    return on_step


@pytest.fixture(scope="module")
def undisturbed(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return train(base, None, examples, replay, RECIPE, tmp_path_factory.mktemp("undisturbed"))


def plain_model(base: Path, recipe: Recipe) -> PeftModel:
    """The same adapter at its start, by transformers and PEFT alone."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(recipe.seed)
    lora = recipe.lora
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def padded_logits(model: PeftModel, rows: list[list[int]]) -> Tensor:
    """Logits everywhere, of a batch padded and masked as usual."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
    logits: Tensor = model(input_ids=ids, attention_mask=mask.long()).logits
    return logits


def plain_new_loss(model: PeftModel, examples: list[Encoded]) -> Tensor:
    logits = padded_logits(model, [example.ids for example in examples])
    labels = torch.full(logits.shape[:2], -100)
    for row, (ids, prompt) in enumerate(examples):
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def plain_replay_loss(model: PeftModel, teacher: PeftModel, replay: ReplaySet, loss: str) -> Tensor:
    """Over the full vocabulary, the teacher run again."""
    rows = [sample.ids for sample in replay.samples]
    total, count = torch.zeros(()), 0
    student_log_q = padded_logits(model, rows).log_softmax(-1)
    with torch.no_grad():
        teacher_log_p = padded_logits(teacher, rows).log_softmax(-1)
    for row, sample in enumerate(replay.samples):
        for position in sample.positions.tolist():
            log_q, log_p = student_log_q[row, position - 1], teacher_log_p[row, position - 1]
            total = total + (
                (log_p.exp() * (log_p - log_q)).sum() if loss == "kl" else -log_q[sample.ids[position]]
            )
            count += 1
    return total / count


@pytest.mark.parametrize("loss", ["kl", "ce"])
def test_steps_are_those_of_a_plain_loop(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, loss: str
) -> None:
    """Losses and gradient norms of three steps, and the weights they lead to; every step sees all data."""
    recipe = replace(
        RECIPE,
        steps=3,
        batch_size=len(examples),
        replay=replace(RECIPE.replay, loss=loss, coeff=0.7, batch_size=len(replay.samples)),
    )
    model, teacher = (
        plain_model(base, recipe),
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=recipe.lr, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    steps: list[StepMetrics] = []
    trained = train(base, None, examples, replay, recipe, tmp_path, on_step=steps.append)
    for step, found in enumerate(steps):
        optimizer.zero_grad()
        new, old = plain_new_loss(model, examples), plain_replay_loss(model, teacher, replay, loss)
        (new + 0.7 * old).backward()
        norm = torch.nn.utils.clip_grad_norm_(trainable, recipe.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        optimizer.step()
        assert found.new_loss == pytest.approx(float(new.detach()), abs=1e-5)
        assert found.replay_loss == pytest.approx(float(old.detach()), abs=1e-5)
        assert found.grad_norm == pytest.approx(float(norm), rel=1e-5, abs=1e-5)
    # Adam divides by the gradient's size, so rounding in tiny gradients counts as much as in large ones.
    prompt = torch.tensor([examples[0].ids])
    with torch.inference_mode():
        wanted, got = model(prompt).logits, models.load(base, trained.adapter).model(prompt).logits
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_the_examples_are_learned(base: Path, renderer: ChatRenderer, tmp_path: Path) -> None:
    examples = encode(renderer, ("a", "yes"), ("b", "no"))
    recipe = replace(RECIPE, steps=80, batch_size=2, lr=1e-2, lora=LoraRecipe(rank=32, alpha=64))
    trained = train(base, None, examples, None, recipe, tmp_path)
    losses = [value for _, value in trained.curves["train/new_loss"]]
    assert losses[0] > 4
    assert losses[-1] < 0.1
    answerer = ModelAnswerer(models.load(base, trained.adapter), renderer)
    assert answerer.answer([Said("a"), Said("b")], max_new_tokens=8) == ["yes", "no"]


class Said:
    """A question without tools."""

    tools = ()

    def __init__(self, *words: str) -> None:
        roles = ("user", "assistant")
        self.messages = [
            {"role": role, "content": said} for role, said in zip(roles[: len(words)], words, strict=True)
        ]


def drift(base: Path, trained: Trained, replay: ReplaySet) -> float:
    """KL(old ‖ new) in nats per token on samples that training has not seen."""
    old, new = models.load(base).model, models.load(base, trained.adapter).model
    with torch.inference_mode():
        return float(plain_replay_loss(new, old, replay, "kl"))


def test_replay_keeps_the_model_where_it_was(
    base: Path, loaded: LoadedModel, renderer: ChatRenderer, examples: list[Encoded], tmp_path: Path
) -> None:
    recipe = replace(
        RECIPE, steps=40, lr=5e-3, replay=replace(RECIPE.replay, samples=60, batch_size=12, coeff=3.0)
    )
    replay = generate(loaded, renderer, recipe.replay, (), 1)
    unseen = generate(loaded, renderer, recipe.replay, (), 2)
    without = train(base, None, examples, None, recipe, tmp_path / "without")
    held = train(base, None, examples, replay, recipe, tmp_path / "held")
    assert drift(base, held, unseen) < 0.6 * drift(base, without, unseen)


@pytest.mark.parametrize("settings", [{}, {"adapter": "full", "interpolate": 0.5}])
def test_a_finished_training_holds_no_memory(
    base: Path,
    examples: list[Encoded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    """Nor what it needed while the weights are written: the next model is loaded beside it otherwise."""
    runs: list[weakref.ref[Any]] = []
    begun, write = trainer._Run.__init__, trainer._saved

    def begin(self: Any, *arguments: Any, **more: Any) -> None:
        runs.append(weakref.ref(self))
        begun(self, *arguments, **more)

    def written(*arguments: Any) -> Path:
        assert runs[0]() is None, "the optimiser is there while the weights are written"
        return write(*arguments)

    monkeypatch.setattr(trainer._Run, "__init__", begin)
    monkeypatch.setattr(trainer, "_saved", written)
    gc.disable()  # a cycle would be found by chance
    try:
        train(base, None, examples, None, replace(RECIPE, **settings), tmp_path)
        assert runs[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells it elsewhere")
def test_the_peak_of_memory_is_what_the_system_says(undisturbed: Trained) -> None:
    peaks = [value for _, value in undisturbed.curves["train/peak_memory_mib"]]
    assert peaks == sorted(peaks)
    held = torch.ones(2**27)  # half a GiB, all of it touched
    now = peak_memory_mib(torch.device("cpu"))
    told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert told is not None
    assert now == pytest.approx(int(told[1]) / 1024, rel=0.01)
    assert peaks[-1] <= now
    assert now >= held.nbytes / 2**20


def test_without_replay_there_is_no_replay_loss(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    recipe = replace(RECIPE, replay=ReplayRecipe(kind="none"))
    steps: list[StepMetrics] = []
    trained = train(base, None, examples, None, recipe, tmp_path, on_step=steps.append)
    assert [step.replay_loss for step in steps] == [None] * 8
    assert "train/replay_loss" not in trained.curves
    assert trained.replay_tokens == 0


def test_rewritten_calls_are_learned_as_new_examples_are(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path
) -> None:
    """Two in the replay of a step, beside two examples, are a step of four examples."""
    one_step = replace(RECIPE, steps=1, batch_size=2)
    rewritten = tuple(
        ReplaySample(
            "rewritten",
            item.ids,
            torch.arange(item.prompt_length, len(item.ids)),
            replay.samples[0].teacher,
        )
        for item in examples[2:]
    )
    found = train(base, None, examples[:2], ReplaySet(rewritten, {}), one_step, tmp_path / "rewritten")
    wanted = train(
        base,
        None,
        examples,
        None,
        replace(one_step, batch_size=4, replay=replace(RECIPE.replay, kind="none")),
        tmp_path / "new",
    )
    assert found.curves["train/new_loss"][0][1] == pytest.approx(
        wanted.curves["train/new_loss"][0][1], rel=1e-6
    )
    assert "train/replay_loss" not in found.curves
    one, other = (load_file(trained.adapter / "adapter_model.safetensors") for trained in (found, wanted))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)


def test_an_empty_replay_set_is_as_none(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    empty = train(base, None, examples, ReplaySet((), {}), RECIPE, tmp_path / "empty")
    assert digest(empty) == digest(train(base, None, examples, None, RECIPE, tmp_path / "none"))


def test_the_seed_decides(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, undisturbed: Trained
) -> None:
    assert digest(train(base, None, examples, replay, RECIPE, tmp_path / "again")) == digest(undisturbed)
    other = train(base, None, examples, replay, replace(RECIPE, seed=1), tmp_path / "other")
    assert digest(other) != digest(undisturbed)


def test_every_example_is_seen_once_an_epoch(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    """Four examples in batches of two: two steps see the tokens of all four."""
    recipe = replace(RECIPE, steps=6, batch_size=2)
    trained = train(base, None, examples, None, recipe, tmp_path)
    assert trained.new_tokens == 3 * sum(len(example.ids) for example in examples)


@pytest.mark.parametrize("step", [1, 3, 4, 7, 8])
def test_a_killed_run_ends_as_one_that_was_not(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, undisturbed: Trained, step: int
) -> None:
    with pytest.raises(KilledError):
        train(base, None, examples, replay, RECIPE, tmp_path, on_step=kill_at(step))
    steps: list[StepMetrics] = []
    trained = train(base, None, examples, replay, RECIPE, tmp_path, on_step=steps.append)
    # Killed within step 3, its checkpoint is not written yet.
    assert steps[0].step == {1: 1, 3: 1, 4: 4, 7: 7, 8: 7}[step]
    assert digest(trained) == digest(undisturbed)
    assert (trained.new_tokens, trained.replay_tokens) == (undisturbed.new_tokens, undisturbed.replay_tokens)
    for name in ("train/new_loss", "train/replay_loss", "train/lr", "train/grad_norm"):
        assert trained.curves[name] == undisturbed.curves[name]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"x" * 300), id="another file"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-10]), id="cut"),
        pytest.param(flip_a_bit, id="a bit flipped"),
    ],
)
def test_a_damaged_checkpoint_costs_its_steps_alone(
    base: Path,
    examples: list[Encoded],
    replay: ReplaySet,
    tmp_path: Path,
    undisturbed: Trained,
    damage: Callable[[Path], None],
) -> None:
    with pytest.raises(KilledError):
        train(base, None, examples, replay, RECIPE, tmp_path, on_step=kill_at(5))
    damage(tmp_path / "checkpoint.safetensors")
    steps: list[StepMetrics] = []
    assert digest(train(base, None, examples, replay, RECIPE, tmp_path, on_step=steps.append)) == digest(
        undisturbed
    )
    assert steps[0].step == 1


def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    base: Path, examples: list[Encoded], replay: ReplaySet, tmp_path: Path, undisturbed: Trained
) -> None:
    another = shutil.copytree(base, tmp_path / "another")
    weights = load_file(another / "model.safetensors")
    turned = {key: -value for key, value in weights.items()}
    save_file(turned, another / "model.safetensors", metadata={"format": "pt"})
    others = {
        "recipe": (base, None, examples, replay, replace(RECIPE, seed=1)),
        "examples": (base, None, examples[:2], replay, RECIPE),
        "replay": (base, None, examples, ReplaySet(replay.samples[1:], {}), RECIPE),
        "parent": (base, undisturbed.adapter, examples, replay, RECIPE),
        "base": (another, None, examples, replay, RECIPE),
    }
    for name, made_of in others.items():
        with pytest.raises(KilledError):
            train(*made_of, tmp_path / name, on_step=kill_at(5))
        trained = train(base, None, examples, replay, RECIPE, tmp_path / name)
        assert digest(trained) == digest(undisturbed), name


def test_an_update_continues_its_parents_adapter(
    base: Path, examples: list[Encoded], tmp_path: Path, undisturbed: Trained
) -> None:
    """A step that moves nothing leaves the parent's weights; the next losses go on from the last."""
    still = replace(RECIPE, steps=1, lr=1e-30, batch_size=4)
    first = train(base, None, examples, None, still, tmp_path / "base").curves["train/new_loss"][0][1]
    child = train(base, undisturbed.adapter, examples, None, still, tmp_path / "child")
    assert child.curves["train/new_loss"][0][1] < first
    assert digest(child) == digest(undisturbed)
    moved = train(base, undisturbed.adapter, examples, None, RECIPE, tmp_path / "moved")
    assert digest(moved)["adapter_model.safetensors"] != digest(undisturbed)["adapter_model.safetensors"]


def test_an_update_keeps_the_rank_of_its_parent(
    base: Path, examples: list[Encoded], tmp_path: Path, undisturbed: Trained
) -> None:
    wider = replace(RECIPE, steps=1, lora=LoraRecipe(rank=16))
    child = train(base, undisturbed.adapter, examples, None, wider, tmp_path)
    assert json.loads((child.adapter / "adapter_config.json").read_text())["r"] == 4


def test_the_adapter_is_safetensors_and_json_without_a_path_of_this_machine(
    base: Path, examples: list[Encoded], tmp_path: Path, undisturbed: Trained
) -> None:
    child = train(base, undisturbed.adapter, examples, None, replace(RECIPE, steps=1), tmp_path)
    for adapter in (undisturbed.adapter, child.adapter):
        assert sorted(path.name for path in adapter.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        for path in adapter.iterdir():
            for place in (base, tmp_path, Path.home(), Path.cwd()):
                assert str(place).encode() not in path.read_bytes()


def test_the_adapter_is_what_peft_loads(base: Path, undisturbed: Trained) -> None:
    inner = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    by_peft = PeftModel.from_pretrained(inner, str(undisturbed.adapter)).eval()
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        merged = models.load(base, undisturbed.adapter).model(ids).logits
        torch.testing.assert_close(merged, by_peft(ids).logits, rtol=0, atol=1e-5 * float(merged.abs().max()))
        assert not torch.allclose(merged, models.load(base).model(ids).logits, atol=1e-2)


def test_bf16_learns_as_well(base: Path, renderer: ChatRenderer, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=20, precision="bf16")
    trained = train(base, None, encode(renderer, ("a", "yes")), None, recipe, tmp_path)
    losses = [value for _, value in trained.curves["train/new_loss"]]
    assert losses[-1] < losses[0] / 2


def test_losses_that_blow_up_are_told(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite at step") as told:
        train(base, None, examples, None, replace(RECIPE, lr=1e30, warmup=0.0), tmp_path)
    assert "--set lr=" in told.value.hint
    assert not (tmp_path / "adapter").exists()


def test_poisoned_weights_are_told(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    model = models.load(base)
    model.model.get_output_embeddings().weight.data[3, 3] = math.nan  # type: ignore[union-attr]
    model.model.save_pretrained(tmp_path / "poisoned")
    model.tokenizer.save_pretrained(tmp_path / "poisoned")
    with pytest.raises(TrainingError, match="the loss is not finite at step 1"):
        train(tmp_path / "poisoned", None, examples, None, RECIPE, tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "there are no examples to train on"),
        ([Encoded([1, 2, 3], 1), Encoded(list(range(6)), 1)], "example 2 has 6 tokens, `max_length` is 5"),
        ([Encoded([1, 2, 3], 3)], "example 1 has an empty answer"),
    ],
)
def test_examples_that_cannot_be_learned_are_told(
    base: Path, tmp_path: Path, bad: list[Encoded], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        train(base, None, bad, None, replace(RECIPE, max_length=5), tmp_path)


def test_modules_that_the_model_lacks_are_told(base: Path, examples: list[Encoded], tmp_path: Path) -> None:
    recipe = replace(RECIPE, lora=LoraRecipe(targets=("query",)))
    with pytest.raises(TrainingError, match="the adapter does not fit the model"):
        train(base, None, examples, None, recipe, tmp_path)


def test_out_of_memory_is_told(
    base: Path, examples: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*inputs: Tensor, **options: object) -> Tensor:
        return torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(objective, "cross_entropy", too_large)
    with pytest.raises(TrainingError, match="out of memory at step 1") as told:
        train(base, None, examples, None, RECIPE, tmp_path, smaller="halve the batch")
    assert told.value.hint == "halve the batch"


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=11, lr=1.0, warmup=0.2, lr_floor=0.1)
    rates = [learning_rate(recipe, step) for step in range(11)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == pytest.approx([1.0 - 0.9 * i / 8 for i in range(9)])


def test_a_single_step_has_the_peak_rate() -> None:
    assert learning_rate(Recipe(steps=1, lr=0.3), 0) == 0.3
