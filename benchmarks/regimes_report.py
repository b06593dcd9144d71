"""What `regimes.py` leaves: checkpoints with their states, the table, and the picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regimes_data import BOS, EOS, LENGTH, LETTERS, PAD, SYMBOLS, UNKNOWN, VOCABULARY

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks" / "regimes.md"
PICTURE = DOCS / "images" / "regimes.png"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_TEMPLATE = "{{ bos_token }}{% for message in messages %} {{ message['content'] }}{% endfor %}"

Line = dict[str, Any]


def read(path: Path) -> dict[str, Line]:
    """The runs of a results file by name; of two with one name the later one."""
    if not path.exists():
        return {}
    lines = (json.loads(text) for text in path.read_text(encoding="utf-8").splitlines())
    return {line["run"]: line for line in lines}


def save(model: Any, place: Path) -> None:
    """A checkpoint in Hugging Face form, with a tokenizer that writes each token as a word of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from adaptman.learning.models import save as save_checkpoint

    words = ["<s>", "</s>", "<pad>", "<unk>", "<text-0>", "<facts-0>", "<text-1>", "<facts-1>"]
    words += [chr(ord("a") + at) for at in range(LETTERS)] + [f"{at:02}" for at in range(SYMBOLS)]
    assert len(words) == VOCABULARY
    tokenizer = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(words)}, unk_token=words[UNKNOWN])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=words[BOS],
        eos_token=words[EOS],
        pad_token=words[PAD],
        unk_token=words[UNKNOWN],
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    save_checkpoint(model, wrapped, place)


def checkpoints(lines: Mapping[str, Line]) -> list[Line]:
    """The lines of pretraining, by size, load and seed."""
    found = [line for name, line in lines.items() if "/" not in name]
    return sorted(found, key=lambda one: [one["settings"][key] for key in ("hidden", "load", "seed")])


def updates_of(lines: Mapping[str, Line], checkpoint: Line) -> list[Line]:
    """The lines of a checkpoint's updates."""
    return [line for name, line in lines.items() if name.startswith(f"{checkpoint['run']}/")]


def best(updates: Iterable[Line], rate: float, *, replay: bool) -> Line | None:
    """Of the updates at a learning rate that came to the target, the one that forgot least."""
    fitting = [
        one
        for one in updates
        if one["reached"] and one["settings"]["lr"] == rate and bool(one["settings"]["coeff"]) == replay
    ]
    return min(fitting, key=lambda one: one["forgetting"], default=None)


def state(checkpoint: Line, updates: Sequence[Line], rate: float) -> Line:
    """What is known of a checkpoint: its load, what it holds, and what the update at `rate` did to it."""
    parameters = checkpoint["parameters"]
    kept, lost = best(updates, rate, replay=True), best(updates, rate, replay=False)
    return {
        "path": checkpoint["run"],
        "hidden": checkpoint["settings"]["hidden"],
        "seed": checkpoint["settings"]["seed"],
        "parameters": parameters,
        "facts": checkpoint["facts"],
        "facts_per_parameter": round(checkpoint["facts"] / parameters, 4),
        "distinct_tokens_per_parameter": round(checkpoint["fact_tokens"] / parameters, 4),
        "bits_per_parameter": round(checkpoint["table_bits"] / parameters, 3),
        "bits_held_per_parameter": round(checkpoint["old"]["bits"] / parameters, 3),
        "tokens_in_a_document": LENGTH,
        "base_loss": checkpoint["old"]["loss"],
        "entropy_floor": checkpoint["floor"],
        "recall": checkpoint["old"]["recall"],
        "forgetting_without_replay": lost and lost["forgetting"],
        "forgetting_with_replay": kept and kept["forgetting"],
        "recall_after_with_replay": kept and kept["old"]["recall"],
        "coefficient": kept and kept["settings"]["coeff"],
        "steps_with_replay": kept and kept["steps"],
        "kl_old_with_replay": kept and kept["kl_old"],
    }


def write_states(results: Path, folder: Path, rate: float) -> None:
    """`states.json` beside the checkpoints that are there."""
    lines = read(results)
    known = [state(one, updates_of(lines, one), rate) for one in checkpoints(lines)]
    there = [one for one in known if (folder / one["path"] / "config.json").exists()]
    (folder / "states.json").write_text(json.dumps(there, indent=1) + "\n", encoding="utf-8")
