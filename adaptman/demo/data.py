"""The demo's files: tool documents, examples and suites for both updates, made in a folder from BFCL's cases.

The files are what a user would write by hand and give to the commands; each is the same for the same seed.
The cases with the shortest text are taken: on two cores the embedded model reads slowly.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from adaptman.demo import bfcl
from adaptman.demo.second_update import Request, ToolUpdate, changed_tools, requests, tool_updates

TRAINING_CASES = 104
# All of them ask after the second update whether a tool that stays is still called rightly: about as many as
# show within a margin of 0.10 that nothing was lost. The shortest ask whether the first update was learned.
HELD_OUT_CASES = 96
NEW_CASES = 48
# A held-out question shares at most this part of its words with any other case's question.
NEAR_DUPLICATE = 0.6


@dataclass(frozen=True)
class DemoFiles:
    """Where the demo's files are, how many entries each has, and where their content comes from."""

    folder: Path
    tools_1: Path
    examples_1: Path
    target_1: Path
    general: Path
    tools_2: Path
    requests: Path
    """Of the tools that will change, in the form of before: what a team has when its tools change."""
    held_out: Path
    """Others like them, and of the tools that stay, that nothing is trained on."""
    examples_2: Path
    """Where the requests go in their new form; a command of the story writes it."""
    source: str
    counts: Mapping[str, int] = field(default_factory=dict)
    """Entries by file name: tools, examples or cases."""


class Split(NamedTuple):
    """The chosen cases, one a tool: those to learn from and those held out, in BFCL's order."""

    training: tuple[bfcl.BfclCase, ...]
    held_out: tuple[bfcl.BfclCase, ...]


class Answerable(Protocol):
    """A request, the tool shown for it and the accepted values: of BFCL, or of the second update."""

    @property
    def id(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def tool(self) -> dict[str, Any]: ...
    @property
    def accept(self) -> dict[str, list[Any]]: ...


def prepare(folder: Path, *, seed: int = 0) -> DemoFiles:
    """Writes the demo's files into `folder`, which is made if it is not there.

    Raises:
        SuiteError: the wheel `bfcl-eval` is not installed, or does not hold BFCL v4.
        OSError: the folder cannot be written.
    """
    split = choose(bfcl.simple_python(), seed=seed)
    updates = tool_updates()
    tools = [case.tool for case in in_order((*split.training, *split.held_out))]
    new_tools = changed_tools(tools, updates)
    learned, asked = _second_update(updates, tools, seed)
    held_out: list[Answerable] = [*asked, *split.held_out]
    first = [example(case) for case in split.training]
    random.Random(f"order/{seed}").shuffle(first)

    folder.mkdir(parents=True, exist_ok=True)
    counts = {
        "tools-1.json": _write_document(folder / "tools-1.json", tools),
        "examples-1.jsonl": _write_lines(folder / "examples-1.jsonl", first),
        "target-1.jsonl": _write_lines(
            folder / "target-1.jsonl", map(suite_case, shortest(split.held_out)[:NEW_CASES])
        ),
        "general.jsonl": _write_general(folder / "general.jsonl"),
        "tools-2.json": _write_document(folder / "tools-2.json", new_tools),
        "requests-1.jsonl": _write_lines(folder / "requests-1.jsonl", map(example, learned)),
        "held-out-1.jsonl": _write_lines(folder / "held-out-1.jsonl", map(suite_case, held_out)),
    }
    return _files(folder, counts)


def choose(cases: Iterable[bfcl.BfclCase], *, seed: int) -> Split:
    """The shortest cases, one a tool name, split so that the second update's tools are learned in the first.

    Held-out cases share no tool name with training, and no question that is nearly the same.
    """
    chosen = _one_a_name(shortest(cases))[: TRAINING_CASES + HELD_OUT_CASES]
    to_change = {update.tool for update in tool_updates()}
    free = [case for case in chosen if case.name not in to_change and not _has_near_duplicate(case, chosen)]
    held_out = {case.id for case in random.Random(f"split/{seed}").sample(free, HELD_OUT_CASES)}
    return Split(
        training=in_order(case for case in chosen if case.id not in held_out),
        held_out=in_order(case for case in chosen if case.id in held_out),
    )


def shortest(cases: Iterable[bfcl.BfclCase]) -> list[bfcl.BfclCase]:
    """The cases by length, shortest first."""
    return sorted(cases, key=lambda case: (case.length, case.id))


def in_order(cases: Iterable[bfcl.BfclCase]) -> tuple[bfcl.BfclCase, ...]:
    """The cases in BFCL's order, which their ids number."""
    return tuple(sorted(cases, key=lambda case: int(case.id.rsplit("_", 1)[1])))


def arguments(case: Answerable) -> dict[str, Any]:
    """The arguments to teach: each parameter's first accepted value, without those that may be left out.

    Whole numbers are written without a decimal point, as the questions write them.
    """
    parameters = case.tool["function"]["parameters"]
    chosen = {}
    for name in parameters["properties"]:
        values = case.accept.get(name, [""])
        if "" in values and name not in parameters.get("required", []):
            continue
        chosen[name] = _whole(next(value for value in values if value != ""))
    return chosen


def example(case: Answerable) -> dict[str, Any]:
    """The training example of a case: its question, answered by the call, with its one tool shown."""
    function = {
        "name": case.tool["function"]["name"],
        "arguments": json.dumps(arguments(case), ensure_ascii=False),
    }
    answer = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
    return {"id": case.id, "messages": [_user(case.question), answer], "tools": [case.tool]}


def suite_case(case: Answerable) -> dict[str, Any]:
    """The suite's case of a request; one to which no call is right has no `accept`."""
    written: dict[str, Any] = {"id": case.id, "messages": [_user(case.question)], "tools": [case.tool]}
    if case.accept:
        written["accept"] = [{"name": case.tool["function"]["name"], "arguments": case.accept}]
    return written


def _second_update(
    updates: Sequence[ToolUpdate], tools: Sequence[Mapping[str, Any]], seed: int
) -> tuple[list[Request], list[Request]]:
    """The requests for the tools that change, those to learn from in shuffled order, then those held out."""
    by_name = {tool["function"]["name"]: tool for tool in tools}
    chance = random.Random(f"second/{seed}")
    learned: list[Request] = []
    held_out: list[Request] = []
    for update in updates:
        new, kept_back = requests(update, by_name[update.tool], chance)
        learned += new
        held_out += kept_back
    chance.shuffle(learned)
    return learned, held_out


def _one_a_name(cases: Iterable[bfcl.BfclCase]) -> list[bfcl.BfclCase]:
    """The first case of each tool name: BFCL gives some names to several tools, which no document may."""
    by_name: dict[str, bfcl.BfclCase] = {}
    for case in cases:
        by_name.setdefault(case.name, case)
    return list(by_name.values())


def likeness(one: str, other: str) -> float:
    """The share of words that two texts have in common (Jaccard), 0 to 1."""
    words, others = set(_words(one)), set(_words(other))
    return len(words & others) / len(words | others)


def _has_near_duplicate(case: bfcl.BfclCase, cases: Iterable[bfcl.BfclCase]) -> bool:
    return any(
        other.id != case.id and likeness(case.question, other.question) > NEAR_DUPLICATE for other in cases
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _write_document(path: Path, tools: Sequence[Mapping[str, Any]]) -> int:
    path.write_text(json.dumps(tools, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return len(tools)


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def _write_general(path: Path) -> int:
    text = resources.files(__package__).joinpath("general.jsonl").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    return len(text.splitlines())


def _files(folder: Path, counts: Mapping[str, int]) -> DemoFiles:
    return DemoFiles(
        folder=folder,
        tools_1=folder / "tools-1.json",
        examples_1=folder / "examples-1.jsonl",
        target_1=folder / "target-1.jsonl",
        general=folder / "general.jsonl",
        tools_2=folder / "tools-2.json",
        requests=folder / "requests-1.jsonl",
        held_out=folder / "held-out-1.jsonl",
        examples_2=folder / "examples-2.jsonl",
        source=bfcl.source(),
        counts=counts,
    )
