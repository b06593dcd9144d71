"""What reading a reply costs, a character, as the reply grows: for texts made to be slow.

    python benchmarks/parse_formats.py [--sizes N ...] [--rounds N]

Each text repeats an opening that is never closed, with brackets, quotes or escapes left open behind it. A
reader whose time is linear shows the same nanoseconds a character at every size; one that reads on from each
opening to the end shows eight times as many at eight times the size. The last columns say which text was the
slowest at the largest size, and its cost there as a multiple of that at the smallest.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from typing import NamedTuple

from adaptman.toolspec.formats import BUILTIN, OutputFormat, own_from_text

OWN = """
name: own
version: 1
begin: "<call>"
end: "</call>"
separator: ";"
call: '{"tool": "{name}", "input": {arguments}}'
system_prompt: "{tools}"
"""
OPENINGS = {
    "hermes": "<tool_call>",
    "llama3": '{"name"',
    "mistral": "[TOOL_CALLS]",
    "mistral-v11": "[TOOL_CALLS]f[ARGS]",
    "pythonic": "[f(",
    "gemma": "<start_function_call>call:f",
    "own": "<call>",
}
TAILS = (
    *(
        "",
        "{",
        "[",
        '{"',
        '{\\"',
        '{"a":"\\',
        "[[[[",
        '["',
        "a=[",
        "a='",
        "a='\\",
        "{a:<escape>",
        "{a:[",
        " ",
    ),
    *('{"tool": "f", "input": {\\"', '{"name": "f", "arguments": {\\"', ': "f", "parameters": {\\"'),
)


class Figure(NamedTuple):
    """Nanoseconds a character at each size, for one text."""

    scrap: str
    costs: list[float]


def scraps(name: str) -> Iterator[str]:
    """What is repeated: on one line, and a line each."""
    for tail in TAILS:
        yield OPENINGS[name] + tail
        yield OPENINGS[name] + tail + "\n"
    yield " "
    yield "\n"


def cost(fmt: OutputFormat, scrap: str, size: int, rounds: int) -> float:
    """Nanoseconds of processor time a character, the best of some rounds."""
    text = scrap * (size // len(scrap))
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        fmt.parse(text)
        best = min(best, time.process_time() - began)
    return best / len(text) * 1e9


def main() -> None:
    """Prints one row for each format: its slowest text at each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 80_000, 640_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    args = parser.parse_args()
    formats = dict(BUILTIN) | {"own": own_from_text(OWN, "own.yaml")}
    print(
        f"Python {platform.python_version()}, {platform.machine()}; slowest of {2 * len(TAILS) + 2} texts\n"
    )
    sizes = " | ".join(f"{size:,} characters" for size in args.sizes)
    print(f"| format | {sizes} | largest / smallest, worst text | that text repeats |")
    print(f"| --- | {'---: | ' * len(args.sizes)}---: | --- |")
    for name, fmt in formats.items():
        figures = [
            Figure(scrap, [cost(fmt, scrap, size, args.rounds) for size in args.sizes])
            for scrap in scraps(name)
        ]
        worst = [max(figure.costs[at] for figure in figures) for at in range(len(args.sizes))]
        growth = max(figures, key=lambda figure: figure.costs[-1] / figure.costs[0])
        shown = " | ".join(f"{value:.0f} ns" for value in worst)
        factor = growth.costs[-1] / growth.costs[0]
        print(f"| {name} | {shown} | {factor:.1f} | `{growth.scrap!r}` |", flush=True)


if __name__ == "__main__":
    main()
