"""Tokens a second of replay sampling, beside `generate` of transformers, on the embedded model.

    python benchmarks/sampling_speed.py --folder DIR [--rounds N] [--rows N] [--limits N ...] [--sizes N ...]

DIR keeps the converted model. The rows are those of a replay set: a quarter from the beginning-of-sequence
token, half from a user's turn (a question, then the answer to it), a quarter from a user's turn under a tool
of the demo. Each stretch is sampled at temperature 1, also under tools, until it ends or reaches its
limit. adaptman draws them by `adaptman.learning.decoding.decode` as replay does, which also keeps the 64
likeliest tokens of each place for the KL. `generate` draws the same in padded batches of rows with the same
limit and of similar length, questions first, then answers, and keeps nothing. Its batch size is the best of
`--sizes`, each tried once before the rounds. Both take turns in one process on the same model. Tokens are
those drawn, up to the end of a row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from speed_setting import Setting, print_table, said, spread

from adaptman.learning.decoding import DecodeSettings, Row, decode
from adaptman.learning.models import LoadedModel, load

_MARK = "\u2063here\u2063"


class Drawn(NamedTuple):
    """Tokens drawn, and what they took: seconds on the wall, and of the processors."""

    tokens: int
    seconds: float
    cpu_seconds: float


def timed(draw: Callable[[], int]) -> Drawn:
    """Run `draw`, which says how many tokens it drew."""
    began, before = time.perf_counter(), time.process_time()
    tokens = draw()
    return Drawn(tokens, time.perf_counter() - began, time.process_time() - before)


def mixture(setting: Setting, start: int, count: int, limit: int) -> list[Row]:
    """Rows as `adaptman.learning.drawing` makes them, of stretches of at most `limit` tokens in all."""
    half = max(1, limit // 2)
    free = [Row((start,), (limit,))] * (count // 4)
    chat = [_turn(setting, (), (half, half))] * (count // 2)
    tools = [_turn(setting, one["tools"], (half, limit)) for one in setting.examples[: count // 4]]
    return [*free, *chat, *tools]


def _turn(setting: Setting, tools: Sequence[dict[str, object]], limits: tuple[int, ...]) -> Row:
    text = setting.renderer.prompt([{"role": "user", "content": _MARK}], tools)
    tokenizer = setting.renderer.tokenizer
    before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in text.split(_MARK))
    return Row(tuple(before), limits, tuple(after))


class Ours:
    """Draws by `decode`, as replay does."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def __call__(self, rows: Sequence[Row], seed: int) -> int:
        """The tokens drawn in all stretches of the rows."""
        settings = DecodeSettings(self._loaded.stop_ids, sample=True, top_k=64)
        written = decode(self._loaded.model, rows, settings, generator=torch.Generator().manual_seed(seed))
        return sum(len(stretch.ids) for row in written for stretch in row)


class Generate:
    """Draws by `generate`, so many rows at a time."""

    def __init__(self, loaded: LoadedModel, size: int) -> None:
        self._model, self._stop_ids, self._size = loaded.model, loaded.stop_ids, size

    def __call__(self, rows: Sequence[Row], seed: int) -> int:
        """The tokens drawn in all stretches of the rows."""
        torch.manual_seed(seed)
        prompts, total = [list(row.prompt) for row in rows], 0
        for stretch in range(max(len(row.limits) for row in rows)):
            limits = {at: row.limits[stretch] for at, row in enumerate(rows) if len(row.limits) > stretch}
            for limit, batch in self._batches(limits, prompts):
                for at, ids in zip(batch, self._written([prompts[at] for at in batch], limit), strict=True):
                    total += len(ids)
                    prompts[at] += [*ids, *rows[at].put_in(ids)]
        return total

    def _batches(
        self, limits: dict[int, int], prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, list[int]]]:
        """Rows of the same limit, by the length of their prompts."""
        for limit in sorted(set(limits.values())):
            same = sorted((at for at in limits if limits[at] == limit), key=lambda at: len(prompts[at]))
            for start in range(0, len(same), self._size):
                yield limit, same[start : start + self._size]

    def _written(self, prompts: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = torch.tensor(prompt), 1
        with torch.inference_mode():
            found = self._model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=limit,
                eos_token_id=list(self._stop_ids),
                pad_token_id=0,
            )
        return [self._to_its_end(row) for row in found[:, longest:].tolist()]

    def _to_its_end(self, ids: list[int]) -> list[int]:
        end = next((at for at, one in enumerate(ids) if one in self._stop_ids), len(ids) - 1)
        return ids[: end + 1]


def compared(loaded: LoadedModel, rows: Sequence[Row], sizes: Sequence[int], rounds: int) -> list[object]:
    """A line of the table: both sides' tokens a second over the rounds, and their ratio."""
    tried = {size: timed(lambda: Generate(loaded, size)(rows, 0)) for size in sizes}  # noqa: B023 (called)
    best = max(tried, key=lambda size: tried[size].tokens / tried[size].seconds)
    ours, theirs = Ours(loaded), Generate(loaded, best)
    found: list[tuple[Drawn, Drawn]] = []
    for seed in range(1, rounds + 1):
        first = timed(lambda: ours(rows, seed))  # noqa: B023 (called at once)
        found.append((first, timed(lambda: theirs(rows, seed))))  # noqa: B023
    speeds = [[one.tokens / one.seconds for one in side] for side in zip(*found, strict=True)]
    cpu = [one.tokens / one.cpu_seconds * other.cpu_seconds / other.tokens for one, other in found]
    lengths = sum(one.tokens for one, _ in found) / len(found) / sum(len(row.limits) for row in rows)
    others = ", ".join(f"{size}: {one.tokens / one.seconds:.0f}" for size, one in tried.items())
    ratios = [one / other for one, other in zip(*speeds, strict=True)]
    return [f"{lengths:.0f}", spread(speeds[0]), spread(speeds[1]), others, spread(ratios), spread(cpu)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--limits", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64])
    asked = parser.parse_args()
    setting = Setting.made(asked.folder)
    loaded = load(setting.base)
    print(said(torch.get_num_threads()), "\n")
    start = loaded.tokenizer.bos_token_id
    assert isinstance(start, int)
    columns = ["limit", "mean tokens a stretch", "adaptman, tokens/s", "generate, tokens/s"]
    print_table(
        [*columns, "generate by batch size", "ratio", "ratio, processor time"],
        (
            [
                limit,
                *compared(loaded, mixture(setting, start, asked.rows, limit), asked.sizes, asked.rounds),
            ]
            for limit in asked.limits
        ),
    )


if __name__ == "__main__":
    main()
