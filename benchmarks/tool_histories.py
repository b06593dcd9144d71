"""What the change sets of real tool documents find, against labels written by hand.

    python benchmarks/tool_histories.py --folder DIR

DIR holds `tools/list` answers as SERVER-VERSION.json, for the servers and versions that
tests/toolspec/history_labels.json names. To make them: `npm i --ignore-scripts PACKAGE@VERSION`, then
`adaptman schema register --mcp "node …"`, or ask the server by hand. Printed are recall and precision of
renames, merges and splits, the classes, what could not be decided, and the time of each comparison.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from adaptman.toolspec.changes import ChangeClass, ChangeSet
from adaptman.toolspec.diff import diff
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.readers import read_document_file

LABELS = Path(__file__).parents[1] / "tests" / "toolspec" / "history_labels.json"


@dataclass(frozen=True)
class Step:
    """One update: the documents before and after it, and what the program says of it."""

    name: str
    old: ToolDocument
    new: ToolDocument
    changes: ChangeSet
    seconds: float


@dataclass
class Tally:
    """What was found, what is labelled."""

    found: set[str] = field(default_factory=set)
    labelled: set[str] = field(default_factory=set)

    @property
    def recall(self) -> float:
        """Part of the labelled that was found."""
        return len(self.found & self.labelled) / len(self.labelled) if self.labelled else 1.0

    @property
    def precision(self) -> float:
        """Part of what was found that is labelled."""
        return len(self.found & self.labelled) / len(self.found) if self.found else 1.0


def steps(folder: Path, labels: dict[str, Any]) -> Iterator[Step]:
    """Every update of every history."""
    for server, versions in labels["versions"].items():
        documents = [read_document_file(folder / f"{server}-{version}.json") for version in versions]
        for version, old, new in zip(versions[1:], documents, documents[1:], strict=False):
            began = time.perf_counter()
            changes = diff(old, new)
            yield Step(f"{server} {version}", old, new, changes, time.perf_counter() - began)


def tallies(found: list[Step], labels: dict[str, Any]) -> dict[str, Tally]:
    """By what is counted."""
    tools, merges, parameters = Tally(), Tally(), Tally()
    for step in found:
        tools.labelled |= {f"{step.name}: {a} > {b}" for a, b in labels["tools"].get(step.name, {}).items()}
        merges.labelled |= {
            f"{step.name}: {old} > {new}"
            for new, olds in labels["merges"].get(step.name, {}).items()
            for old in olds
        }
        parameters.labelled |= {f"{step.name} {one}" for one in labels["parameters"].get(step.name, [])}
        for tool in step.changes.tools:
            if tool.status == "renamed":
                tools.found.add(f"{step.name}: {tool.old_name} > {tool.name}")
            for change in tool.changes:
                if change.kind in ("tool-merged", "tool-split"):
                    merges.found.add(f"{step.name}: {tool.name} > {change.to}")
                elif change.kind == "parameter-renamed":
                    parameters.found.add(f"{step.name} {tool.name}: {change.path} > {change.to}")
    return {"tool renames": tools, "merges and splits": merges, "parameter renames": parameters}


def unconfirmed(step: Step) -> list[str]:
    """Breaking changes whose witness plain `jsonschema` does not confirm; there must be none."""
    wrong = []
    for tool in step.changes.tools:
        for change in tool.changes:
            if change.change_class is not ChangeClass.BREAKING:
                continue
            before, now = step.old.get(tool.old_name or tool.name), step.new.get(tool.name)
            right = before is not None and _valid(before.parameters, change.witness)
            gone = change.kind.startswith("tool-")
            if not right or not (gone or (now is not None and not _valid(now.parameters, change.witness))):
                wrong.append(f"{step.name} {tool.name}: {change.kind} {change.path}")
    return wrong


def _valid(schema: dict[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    found = list(steps(parser.parse_args().folder, labels))
    print("| | labelled | found | recall | precision |\n| --- | ---: | ---: | ---: | ---: |")
    for name, tally in tallies(found, labels).items():
        counts = f"{len(tally.labelled)} | {len(tally.found)}"
        print(f"| {name} | {counts} | {tally.recall:.2f} | {tally.precision:.2f} |")
    print("\n| update | breaking | meaning | habit | bytes | unknown | seconds |\n|" + " --- |" * 7)
    every: Counter[str] = Counter()
    for step in found:
        classes = Counter(str(one.change_class) for tool in step.changes.tools for one in tool.changes)
        every += classes
        row = [str(classes[name]) for name in ("breaking", "meaning", "habit", "bytes", "unknown")]
        print(f"| {step.name} | {' | '.join(row)} | {step.seconds:.3f} |")
    share = every["unknown"] / max(1, sum(every.values()))
    print(f"\n{len(found)} updates, {sum(every.values())} changes, {share:.1%} unknown")
    print(f"witnesses that jsonschema does not confirm: {sum(len(unconfirmed(step)) for step in found)}")


if __name__ == "__main__":
    main()
