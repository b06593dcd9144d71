"""One side of `training_speed.py`: a training in a process of its own that takes a step when it has its turn.

    python benchmarks/training_sides.py SIDE

The request holds the base checkpoint's folder, the adapter's to begin with, the rows of token ids with the
length of each one's prompt, the batches as indices of rows, and a learning rate a step. The rivals import
nothing of adaptman, so that they run in an environment of their own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import Turns


def adaptman(request: dict[str, Any], turns: Turns) -> None:
    """`adaptman.learning.trainer.train` with the recipe of the request."""
    from adaptman.learning.chat import Encoded
    from adaptman.learning.recipe import Recipe
    from adaptman.learning.replay import ReplaySet
    from adaptman.learning.trainer import StepMetrics, train

    def on_step(metrics: StepMetrics) -> None:
        turns.done(loss=metrics.new_loss)
        if metrics.step < metrics.steps:
            turns.wait()

    replay = ReplaySet.from_file(request["replay"]) if request.get("replay") else None
    turns.wait()
    with tempfile.TemporaryDirectory() as folder:
        train(
            Path(request["base"]),
            Path(request["adapter"]),
            [Encoded(ids, prompt) for ids, prompt in request["rows"]],
            replay,
            Recipe.from_dict(request["recipe"]),
            Path(folder),
            on_step=on_step,
        )


def plain(request: dict[str, Any], turns: Turns) -> None:
    """A loop over transformers and PEFT: padded batches, logits everywhere."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, request["adapter"], is_trainable=True)
    learned = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learned, betas=(0.9, 0.95), weight_decay=0.0)
    for batch, rate in zip(request["batches"], request["rates"], strict=True):
        turns.wait()
        rows = [request["rows"][at] for at in batch]
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for at, (row, prompt) in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
            labels[at, prompt : len(row)] = torch.tensor(row[prompt:])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        found = model(input_ids=ids, attention_mask=mask, labels=labels)
        found.loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        turns.done(loss=exact(found.logits, labels) if request["exact"] else float(found.loss.detach()))


def exact(logits: Any, labels: Any) -> float:
    """The loss of a batch summed in fp64: the sum over a batch in fp32 is off by some 1e-5 of itself."""
    import torch

    learned = labels[:, 1:] != -100
    return float(
        torch.nn.functional.cross_entropy(logits.detach()[:, :-1][learned].double(), labels[:, 1:][learned])
    )


def trl(request: dict[str, Any], turns: Turns) -> None:
    """TRL's `SFTTrainer` with the loss on completions; what else is set comes with the request."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    base = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, request["adapter"], is_trainable=True)
    rows = [request["rows"][at] for batch in request["batches"] for at in batch]
    columns = {
        "input_ids": [ids for ids, _ in rows],
        "completion_mask": [[0] * prompt + [1] * (len(ids) - prompt) for ids, prompt in rows],
    }

    class InTurn(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            turns.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                turns.done(loss=float(logs["loss"]))

    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            max_steps=len(request["batches"]),
            per_device_train_batch_size=len(request["batches"][0]),
            learning_rate=max(request["rates"]),
            adam_beta2=0.95,
            completion_only_loss=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **{"bf16": False, **request["trl"]},
        )
        trainer = SFTTrainer(
            model,
            args=settings,
            train_dataset=Dataset.from_dict(columns),
            processing_class=AutoTokenizer.from_pretrained(request["base"]),
            callbacks=[InTurn()],
        )
        trainer.train()


SIDES: dict[str, Callable[[dict[str, Any], Turns], None]] = {"adaptman": adaptman, "plain": plain, "trl": trl}


if __name__ == "__main__":
    turns = Turns()
    SIDES[sys.argv[1]](json.loads(sys.stdin.readline()), turns)
