"""How long a change set takes: large documents of similar tools, of which every tenth is renamed.

    python benchmarks/diff_time.py --before OLD.json --after NEW.json

With two documents, also the whole process of comparing them, started anew for each of five times.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adaptman.toolspec.diff import diff
from adaptman.toolspec.readers import document_from_openai

SIZES = (500, 1000, 2000, 5000)
_OF_130_KB = 283
_VERBS = (
    "get",
    "list",
    "create",
    "delete",
    "update",
    "find",
    "send",
    "fetch",
    "move",
    "copy",
    "open",
    "close",
)
_KINDS = (
    "draft",
    "archived",
    "shared",
    "public",
    "private",
    "recent",
    "overdue",
    "weekly",
    "local",
    "remote",
)
_NOUNS = ("invoice", "order", "user", "file", "ticket", "report", "task", "note", "event", "contact", "image")
_PARAMETERS = ("id", "name", "limit", "query", "since", "until", "owner", "format", "path", "tags", "sort")
_WHOLE = (
    "import sys; from pathlib import Path; from adaptman.toolspec.readers import read_document_file as read; "
    "from adaptman.toolspec.diff import diff; print(diff(*(read(Path(p)) for p in sys.argv[1:])).counts)"
)


def tools(count: int) -> list[dict[str, Any]]:
    """So many tools whose names and words are much alike."""
    chance = random.Random(0)
    made = []
    for number in range(count):
        verb, kind, noun = (chance.choice(words) for words in (_VERBS, _KINDS, _NOUNS))
        properties = {
            name: {
                "type": chance.choice(["string", "integer", "boolean"]),
                "description": f"The {name} of it",
            }
            for name in chance.sample(_PARAMETERS, 4)
        }
        schema = {"type": "object", "properties": properties, "required": list(properties)[:1]}
        told = f"{verb.capitalize()} the {kind} {noun} of a customer, number {number}"
        body = {"name": f"{verb}_{kind}_{noun}_{number}", "description": told, "parameters": schema}
        made.append({"type": "function", "function": body})
    return made


def renamed(before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same tools, every tenth of them under another name."""
    after: list[dict[str, Any]] = json.loads(json.dumps(before))
    for at in random.Random(1).sample(range(len(before)), len(before) // 10):
        name = after[at]["function"]["name"]
        after[at]["function"]["name"] = "do-" + name.replace("_", "-")
    return after


def whole_process(before: Path, after: Path) -> float:
    """Seconds from starting Python to the counts of changes, the median of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _WHOLE, before, after], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    told = parser.parse_args()
    diff(
        document_from_openai(tools(10)), document_from_openai(renamed(tools(10)))
    )  # what it imports is there
    print("| tools | kB | renamed | found | CPU seconds |\n| ---: | ---: | ---: | ---: | ---: |")
    for count in SIZES:
        before = tools(count)
        pair = document_from_openai(before), document_from_openai(renamed(before))
        began = time.process_time()
        changes = diff(*pair)
        took = time.process_time() - began
        found = sum(
            tool.status == "renamed" and tool.name == "do-" + str(tool.old_name).replace("_", "-")
            for tool in changes.tools
        )
        print(f"| {count} | {len(json.dumps(before)) // 1000} | {count // 10} | {found} | {took:.2f} |")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("before.json", "after.json")]
        for path, made in zip(paths, (tools(_OF_130_KB), renamed(tools(_OF_130_KB))), strict=True):
            path.write_text(json.dumps(made), encoding="utf-8")
        size = paths[0].stat().st_size // 1000
        print(f"\n{_OF_130_KB} tools, {size} kB, whole process: median {whole_process(*paths):.2f} s")
    if told.before and told.after:
        size = told.after.stat().st_size // 1000
        took = whole_process(told.before, told.after)
        print(f"{told.after.name}, {size} kB, whole process: median {took:.2f} s")


if __name__ == "__main__":
    main()
