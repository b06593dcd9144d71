"""What `regimes.py` leaves: checkpoints with their states, the table, and the picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from regimes_data import BOS, EOS, LENGTH, LETTERS, PAD, SYMBOLS, UNKNOWN, VOCABULARY

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks" / "regimes.md"
PICTURE = DOCS / "images" / "regimes.png"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_TEMPLATE = "{{ bos_token }}{% for message in messages %} {{ message['content'] }}{% endfor %}"

Line = dict[str, Any]
Updates = Mapping[str, Sequence[Line]]
"""The lines of each checkpoint's updates."""


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


def _mixed(updates: Iterable[Line], rate: float) -> list[Line]:
    """The updates of facts and text at a learning rate."""
    return [one for one in updates if one["settings"]["lr"] == rate and one["settings"]["text_share"] < 1]


def best(updates: Iterable[Line], rate: float, *, replay: bool) -> Line | None:
    """Of the updates at a learning rate that came to the target, the one that forgot least."""
    fitting = [
        one for one in _mixed(updates, rate) if one["reached"] and bool(one["settings"]["coeff"]) == replay
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


def write(results: Path, high: float, low: float) -> None:
    """The tables of the page between its two marks, and the picture, from the results alone."""
    from regimes_plot import draw

    lines = read(results)
    found = checkpoints(lines)
    updates = {one["run"]: updates_of(lines, one) for one in found}
    states = [state(one, updates[one["run"]], high) for one in found]
    swept = _swept(updates)
    draw(states, swept, PICTURE)
    parts = [
        _told(found),
        _capacity(found, updates, states, high, low),
        _coefficients(found, updates, high),
        _sweep(found, swept),
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(_BEGIN)[0], page.split(_END)[1]
    body = "\n\n".join(parts)
    PAGE.write_text(f"{before}{_BEGIN}\n\n{body}\n\n{_END}{after}", encoding="utf-8")


def _told(found: Sequence[Line]) -> str:
    first = found[0]
    seeds = len({one["settings"]["seed"] for one in found})
    return (
        f"Measured with adaptman {first['adaptman']}, Python {first['python']}, torch {first['torch']}, "
        f"transformers {first['transformers']}, {first['machine']}, {seeds} seed{'s' * (seeds > 1)}."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}", *lines])


def _swept(updates: Updates) -> list[list[Line]]:
    """The updates of text alone by coefficient and learning rate, the higher rate first."""
    found = [one for every in updates.values() for one in every if one["settings"]["text_share"] == 1]
    found.sort(key=lambda one: (one["settings"]["coeff"], -one["settings"]["lr"]))
    return _grouped(found, ("coeff", "lr"))


def _capacity(
    found: Sequence[Line], updates: Updates, states: Sequence[Line], high: float, low: float
) -> str:
    """A row for each size and load, means over seeds."""
    head = [
        "parameters", "facts", "distinct fact tokens per parameter", "bits per parameter", "held",
        "loss above its floor", "recall", f"forgetting, no replay, {high:g}", f"the same, {low:g}",
        "with replay", "recall after", "coefficient", "steps",
    ]  # fmt: skip
    known = {one["path"]: one for one in states}
    rows = []
    for group in _by_load(found):
        of_group = [known[one["run"]] for one in group]
        slow = [best(updates[one["run"]], low, replay=False) for one in group]
        rows.append(
            [
                f"{of_group[0]['parameters']:,}",
                f"{of_group[0]['facts']:,}",
                f"{of_group[0]['distinct_tokens_per_parameter']:.3f}",
                _mean_of(of_group, "bits_per_parameter"),
                _mean_of(of_group, "bits_held_per_parameter"),
                f"{mean(one['base_loss'] - one['entropy_floor'] for one in of_group):.2f}",
                _mean_of(of_group, "recall"),
                _mean_of(of_group, "forgetting_without_replay"),
                _mean_of(slow, "forgetting"),
                _mean_of(of_group, "forgetting_with_replay", 3),
                _mean_of(of_group, "recall_after_with_replay"),
                ", ".join(sorted({f"{one['coefficient']:g}" for one in of_group if one["coefficient"]})),
                _mean_of(of_group, "steps_with_replay", 0),
            ]
        )
    return _table(head, rows)


def _coefficients(found: Sequence[Line], updates: Updates, high: float) -> str:
    """Forgetting and steps for each coefficient at the high rate, means over seeds."""
    tried = [one for every in updates.values() for one in _mixed(every, high)]
    coeffs = sorted({one["settings"]["coeff"] for one in tried})
    rows = []
    for group in _by_load(found):
        names = {one["run"] for one in group}
        cells = [_coefficient([one for one in tried if one["run"].split("/")[0] in names], c) for c in coeffs]
        rows.append([f"{group[0]['parameters']:,}", f"{group[0]['facts']:,}", *cells])
    return _table(["parameters", "facts", *(f"c = {c:g}" if c else "no replay" for c in coeffs)], rows)


def _coefficient(tried: Sequence[Line], coeff: float) -> str:
    ones = [one for one in tried if one["settings"]["coeff"] == coeff]
    return f"{_mean_of(ones, 'forgetting', 3)} in {_steps(ones)}" if ones else "–"


def _sweep(found: Sequence[Line], swept: Sequence[Sequence[Line]]) -> str:
    """A row for each learning rate, without replay and with it, means over seeds."""
    one = next(one for one in found if swept[0][0]["run"].startswith(f"{one['run']}/"))
    rows = []
    for group in swept:
        how = group[0]["settings"]
        rows.append(
            [
                f"{how['lr']:g}",
                f"c = {how['coeff']:g}" if how["coeff"] else "none",
                _steps(group),
                _mean_of(group, "forgetting", 3),
                _mean_of(group, "kl_old", 3),
                _mean_of([line["old"] for line in group], "recall"),
            ]
        )
    told = f"New text alone, {one['parameters']:,} parameters, {one['facts']:,} facts:"
    head = ["learning rate", "replay", "steps", "forgetting", "KL on old text", "recall after"]
    return f"{told}\n\n{_table(head, rows)}"


def _steps(lines: Sequence[Line]) -> str:
    """Steps to the target, or the new loss of those that did not come to it."""
    if all(one["reached"] for one in lines):
        return f"{mean(one['steps'] for one in lines):,.0f} steps"
    return f"{mean(one['steps'] for one in lines):,.0f}, not there: {_mean_of(lines, 'new_loss')}"


def _by_load(found: Sequence[Line]) -> list[list[Line]]:
    """Checkpoints that differ in their seed alone."""
    return _grouped(found, ("hidden", "load"))


def _grouped(lines: Iterable[Line], keys: Sequence[str]) -> list[list[Line]]:
    """Lines whose settings agree in `keys` together, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for one in lines:
        groups.setdefault(tuple(one["settings"][key] for key in keys), []).append(one)
    return list(groups.values())


def _mean_of(lines: Iterable[Line | None], key: str, digits: int = 2) -> str:
    values = [one[key] for one in lines if one and one[key] is not None]
    return f"{mean(values):.{digits}f}" if values else "–"
