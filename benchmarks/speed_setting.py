"""What the speed benchmarks share: the embedded model, the demo's data, and how figures are told."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from adaptman.demo.data import prepare
from adaptman.learning import models
from adaptman.learning.chat import ChatRenderer, Encoded
from adaptman.toolspec.formats import output_format


@dataclass(frozen=True)
class Setting:
    """A checkpoint, who writes for it, and the demo's examples of the first update (BFCL `simple_python`)."""

    base: Path
    renderer: ChatRenderer
    examples: tuple[dict[str, Any], ...]

    @classmethod
    def made(cls, folder: Path) -> Setting:
        """Convert the embedded model into `folder`, where it is not there yet, and make the demo's files."""
        base = folder / "base"
        if not base.exists():
            models.convert(models.embedded_gguf(), base)
        files = prepare(folder / "data")
        lines = files.examples_1.read_text(encoding="utf-8").splitlines()
        renderer = ChatRenderer(models.load_tokenizer(base), output_format("hermes"))
        return cls(base, renderer, tuple(json.loads(line) for line in lines))

    def encoded(self) -> list[Encoded]:
        """The examples as the trainer reads them, each under its own tool."""
        return [self.renderer.answered(one["messages"], one["tools"]) for one in self.examples]

    def encoded_together(self, tools: int) -> list[Encoded]:
        """The examples under documents of so many tools, as an agent shows them: those of its neighbours."""
        found = []
        for start in range(0, len(self.examples) - tools + 1, tools):
            some = self.examples[start : start + tools]
            shown = [tool for one in some for tool in one["tools"]]
            found += [self.renderer.answered(one["messages"], shown) for one in some]
        return found


def said(threads: int, *packages: str) -> str:
    """Where and with what a benchmark ran, as the line above its tables."""
    with_what = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", *packages))
    command = " ".join(["python", *sys.argv])
    return f"{processor()}, {threads} threads, Python {platform.python_version()}, {with_what}\n`{command}`"


def processor() -> str:
    """The processor's name (Linux), else what Python says of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def print_table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table in Markdown, each line as soon as it is known."""
    for line in chain([columns, ["---"] * len(columns)], lines):
        print(f"| {' | '.join(map(str, line))} |", flush=True)
    print()
