"""Questions that are nearly the same: what of planted ones is found, and what else is.

    python benchmarks/near_duplicates.py --seed 0

Data are the requests of BFCL with accepted calls, from the wheel `bfcl-eval`. Each is planted once more with
a tenth of its words (at least one) replaced, dropped, inserted or swapped. False alarms are pairs of requests
whose accepted calls name no function in common: by their words alone, and by the rule of the leak check,
which asks for the same call too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from adaptman.evaluation import bfcl
from adaptman.toolspec.nearness import near_pairs, question_text

CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "live_simple", "live_multiple")


def _replaced(words: list[str], chance: random.Random, more: list[str]) -> None:
    words[chance.randrange(len(words))] = chance.choice(more)


def _dropped(words: list[str], chance: random.Random, more: list[str]) -> None:
    if len(words) > 1:
        del words[chance.randrange(len(words))]


def _inserted(words: list[str], chance: random.Random, more: list[str]) -> None:
    words.insert(chance.randrange(len(words) + 1), chance.choice(more))


def _swapped(words: list[str], chance: random.Random, more: list[str]) -> None:
    a, b = (chance.randrange(len(words)) for _ in range(2))
    words[a], words[b] = words[b], words[a]


WAYS: dict[str, Callable[[list[str], random.Random, list[str]], None]] = {
    "replaced": _replaced, "dropped": _dropped, "inserted": _inserted, "swapped": _swapped,
}  # fmt: skip


def planted(text: str, way: str, chance: random.Random, more: list[str]) -> str:
    """The text with a tenth of its words otherwise."""
    words = text.split()
    for _ in range(max(1, round(len(words) / 10))):
        WAYS[way](words, chance, more)
    return " ".join(words)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    chance = random.Random(parser.parse_args().seed)
    data = bfcl.wheel_data()
    cases = [case for name in CATEGORIES for case in bfcl.read_category(data, name).records]
    texts = [question_text(case["messages"]) for case in cases]
    functions = [{call["name"] for call in case["accept"]} for case in cases]
    more = sorted({word for text in texts for word in text.split() if word.isascii() and word.isalpha()})
    print(f"{len(texts)} requests\n\n| planted | found | missed |\n| --- | --- | --- |")
    missed: set[str] = set()
    for way in WAYS:
        other = [planted(text, way, chance, more) for text in texts]
        found = {pair.left for pair in near_pairs(texts, other) if pair.left == pair.right}
        missed |= {text for at, text in enumerate(texts) if at not in found}
        print(f"| {way} | {len(found) / len(texts):.4f} | {len(texts) - len(found)} |")
    spaced = [text for text in missed if len(text.split()) > 2 and text.isascii()]
    print(f"\nmissed with three words and more, all ASCII: {len(spaced)}")
    for text in spaced[:10]:
        print(f"  {text[:100]!r}")
    pairs = [pair for pair in near_pairs(texts) if not functions[pair.left] & functions[pair.right]]
    alarmed = {at for pair in pairs for at in (pair.left, pair.right)}
    share = len(alarmed) / len(texts)
    print(f"near by their words, other functions: {len(pairs)} pairs, {share:.4f} of requests")
    print("of those the same call, as the leak check asks: 0 by construction (a call names its function)")
    began = time.perf_counter()
    many = [planted(text, "replaced", chance, more) for text in texts for _ in range(10)][:20_000]
    found_pairs = len(near_pairs(many))
    print(f"{len(many)} texts among themselves: {found_pairs} pairs, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
