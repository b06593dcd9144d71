"""The streams of updates that `forgetting.py` measures: what each teaches, and what asks whether it is kept.

Five updates, each of which a team would register. `alike`: new tools; tools to choose between; a changed
schema (rename, newly required, enum narrowed); several calls at once; another output format. All of them
teach calls. In `unlike` two of five do not: new tools; several calls at once; the changed schema; requests
that no tool fits, declined; and dates written in one form, with no tool in sight. On two more,
`choosing` and `own`, what replay is drawn under was chosen; nothing is reported of them, and the other two
have none of their requests.

Requests are BFCL's (`simple_python`, `multiple`, `parallel`, `irrelevance`), from the wheel `bfcl-eval`,
and those of the demo's changed tools; dates are generated. Of the demo, on which the default recipe was
chosen, only these twelve tools are here again, and none of its general questions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from check_general import general_suite

from adaptman.demo import bfcl, data
from adaptman.demo.second_update import HELD_OUT_PER_TOOL, ToolUpdate, tool_updates
from adaptman.evaluation.bfcl import read_category, wheel_data
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.questions import share_declined

Record = dict[str, Any]
QUESTIONS = Path(__file__).parent / "data" / "general_questions.tsv"
_SENTENCES = (
    "The invoice was sent on {day}.", "We met on {day} in Rome.", "Delivery is due {day}.",
    "She was born on {day}.", "The contract ends on {day}.", "Our last backup is from {day}.",
)  # fmt: skip
_WRITTEN = ("%d %B %Y", "%B %d, %Y", "%A, %d %B %Y", "%d %b %Y")


@dataclass(frozen=True)
class Update:
    """What an update teaches: examples in OpenAI's form, the output format, and the suite of held-out cases,
    which `held_out` answers.

    `changed` are the canonical texts of earlier tools that are not as they were any more.
    """

    name: str
    format_name: str
    examples: tuple[Record, ...]
    suite: Suite
    held_out: tuple[Record, ...]
    changed: frozenset[str] = frozenset()

    @property
    def declined(self) -> float:
        """Share of the examples that show tools and call none."""
        return share_declined([(one["messages"], one["tools"]) for one in self.examples])

    @property
    def tools(self) -> tuple[Record, ...]:
        """The tools shown in the examples, each once."""
        found = {canonical_json(tool): tool for example in self.examples for tool in example["tools"]}
        return tuple(found.values())


@dataclass(frozen=True)
class Stream:
    """The updates in their order, and the suites that belong to none of them."""

    updates: tuple[Update, ...]
    general: Suite
    irrelevance: Suite


def alike(*, examples: int, cases: int, seed: int) -> Stream:
    """Five updates that teach calls, with so many examples and held-out cases each: the shortest of BFCL's.

    Raises:
        SuiteError: the wheel `bfcl-eval` is not installed, or does not hold BFCL v4.
    """
    count, chance = examples + cases, random.Random(f"stream/{seed}")
    simple = _unused_simple(2 * count)
    chance.shuffle(simple)
    updates = (
        _new_tools(simple[:count], cases, chance),
        _split(_category("multiple")[:count], cases, chance, "more tools"),
        _schema_change(examples, cases, chance),
        _split(_category("parallel")[:count], cases, chance, "parallel calls"),
        _split(simple[count:], cases, chance, "other format", "mistral"),
    )
    return Stream(updates, general_questions(), _irrelevance(cases))


def unlike(*, examples: int, cases: int, seed: int) -> Stream:
    """Three updates that teach calls, then two that teach answers in words; as large as those of `alike`.

    Raises:
        SuiteError: the wheel `bfcl-eval` is not installed, or does not hold BFCL v4.
    """
    count, chance = examples + cases, random.Random(f"unlike/{seed}")
    unfit = _category("irrelevance")[cases : cases + count]
    updates = (
        _new_tools(_unused_simple(count), cases, chance),
        _split(_category("parallel")[:count], cases, chance, "parallel calls"),
        _schema_change(examples, cases, chance),
        _declining(unfit, cases, chance, "None of my tools fits this request."),
        _dates(examples, cases, chance),
    )
    return Stream(updates, general_questions(), _irrelevance(cases))


def choosing(*, examples: int, cases: int, seed: int) -> Stream:
    """New tools, several calls at once, and requests that no tool fits; all of other categories of BFCL.

    The general questions are the demo's.

    Raises:
        SuiteError: the wheel `bfcl-eval` is not installed, or does not hold BFCL v4.
    """
    count, chance = examples + cases, random.Random(f"choosing/{seed}")
    unfit = _category("live_irrelevance")
    updates = (
        _split(_category("live_simple")[:count], cases, chance, "new tools"),
        _split(_category("parallel_multiple")[:count], cases, chance, "parallel calls"),
        _declining(unfit[:count], cases, chance, "There is no tool here that can do that."),
    )
    irrelevance = _suite("irrelevance", SuiteKind.IRRELEVANCE, unfit[count : count + cases])
    return Stream(updates, general_suite(), irrelevance)


def own(*, examples: int, cases: int, seed: int) -> Stream:
    """Tools with an example each, which the held-out cases ask for again, as a team's do; several calls at
    once; and requests that no tool fits, both with 32 examples and cases. Of those in the streams that are
    reported with 32 cases, none are here.

    Each tool is shown alone, as BFCL's `live_multiple` calls it.
    """
    unfit = _category("live_irrelevance")
    tools = _asked_often(examples, 1 + max(1, cases // examples))
    taught, asked = [rows[0] for rows in tools], [row for rows in tools for row in rows[1:]]
    updates = (
        _update("new tools", "hermes", [_example(row) for row in taught], asked),
        _split(_category("parallel")[64:128], 32, random.Random(f"own-parallel/{seed}"), "parallel calls"),
        _declining(unfit[:64], 32, random.Random(f"own/{seed}"), "There is no tool here that can do that."),
    )
    return Stream(updates, general_suite(), _suite("irrelevance", SuiteKind.IRRELEVANCE, unfit[64:96]))


def _asked_often(count: int, requests: int) -> list[list[Record]]:
    """The shortest tools with three requests or more, so many requests of each, the shortest first."""
    found: dict[str, list[Record]] = {}
    for row in _category("live_multiple"):
        called = {call["name"] for call in row["accept"]}
        shown = [tool for tool in row["tools"] if tool["function"]["name"] in called]
        if len(row["accept"]) == len(shown) == 1:
            found.setdefault(canonical_json(shown[0]), []).append({**row, "tools": shown})
    chosen: dict[str, list[Record]] = {}
    for text, rows in sorted(found.items(), key=lambda item: (len(item[0]), item[0])):
        if len(rows) >= 3:
            chosen.setdefault(json.loads(text)["function"]["name"], rows[:requests])
    return list(chosen.values())[:count]


STREAMS = {"alike": alike, "unlike": unlike, "choosing": choosing, "own": own}


def _unused_simple(count: int) -> list[Record]:
    """Of `simple_python`, but for the demo's."""
    used = {case.id for part in data.choose(bfcl.simple_python(), seed=0) for case in part}
    return [one for one in _category("simple_python") if one["id"] not in used][:count]


def _category(name: str) -> list[Record]:
    """The shortest first."""
    records = read_category(wheel_data(), name).records
    return sorted(records, key=lambda row: (len(json.dumps(row, ensure_ascii=False)), row["id"]))


def _split(
    records: Sequence[Record], cases: int, chance: random.Random, name: str, format_name: str = "hermes"
) -> Update:
    rows = list(records)
    chance.shuffle(rows)
    return _update(name, format_name, [_example(row) for row in rows[cases:]], rows[:cases])


def _new_tools(records: Sequence[Record], cases: int, chance: random.Random) -> Update:
    """The tools that are going to change are among them."""
    first = _split(records, cases, chance, "new tools")
    changing = [_example(_request(*pair)) for pair in _changing_tools()]
    return replace(first, examples=(*first.examples[: len(first.examples) - len(changing)], *changing))


def _declining(records: Sequence[Record], cases: int, chance: random.Random, told: str) -> Update:
    """Requests that no tool fits, which are told so."""
    rows = list(records)
    chance.shuffle(rows)
    return _in_words("declining", SuiteKind.IRRELEVANCE, rows, [told] * len(rows), cases)


def _dates(examples: int, cases: int, chance: random.Random) -> Update:
    """The date in a sentence, written as ISO 8601 has it."""
    rows: list[Record] = []
    for number in range(examples + cases):
        day = date(1950, 1, 1) + timedelta(days=chance.randrange(27_000))
        text = chance.choice(_SENTENCES).format(day=day.strftime(chance.choice(_WRITTEN)))
        message = {"role": "user", "content": f"{text} Give the date."}
        answers = {"answers": [day.isoformat()], "match": "exact"}
        rows.append({"id": f"date-{number}", "messages": [message], **answers})
    told = [row["answers"][0] for row in rows]
    return _in_words("dates", SuiteKind.GENERAL, rows, told, cases)


def _in_words(name: str, kind: SuiteKind, rows: Sequence[Record], told: Sequence[str], cases: int) -> Update:
    """Each row is answered by what is told; the first ones are held out."""
    answered = []
    for row, text in zip(rows, told, strict=True):
        answer = {"role": "assistant", "content": text}
        tools = row.get("tools", [])
        answered.append({"id": row["id"], "messages": [*row["messages"], answer], "tools": tools})
    suite = _suite(name, kind, rows[:cases])
    return Update(name, "hermes", tuple(answered[cases:]), suite, tuple(answered[:cases]))


def general_questions() -> Suite:
    """Short questions of general knowledge, none of them the demo's."""
    rows = []
    for number, line in enumerate(QUESTIONS.read_text(encoding="utf-8").splitlines(), 1):
        question, answers = line.split("\t")
        message = {"role": "user", "content": question}
        rows.append({"id": f"general-{number}", "messages": [message], "answers": answers.split("|")})
    return _suite("general", SuiteKind.GENERAL, rows)


def _irrelevance(cases: int) -> Suite:
    return _suite("irrelevance", SuiteKind.IRRELEVANCE, _category("irrelevance")[:cases])


def _changing_tools() -> list[tuple[Record, ToolUpdate]]:
    tools = {case.name: case.tool for case in bfcl.simple_python()}
    return [(tools[update.tool], update) for update in tool_updates()]


def _request(tool: Record, update: ToolUpdate) -> Record:
    """One request for a tool that is going to change, in the form of before: what the first update learns."""
    case = next(iter(update.others), update.cases[0])
    accept = dict(case["accept"])
    if update.narrow and not update.others:
        accept[update.narrow["parameter"]] = list(update.narrow["removed"])
    return _asked(f"{update.tool}-before", tool, tool, update.asked[0], case, accept)


def _schema_change(examples: int, cases: int, chance: random.Random) -> Update:
    """Twelve tools, of which each is renamed, has a parameter newly required or an enum narrowed."""
    learned: list[Record] = []
    held_out: list[Record] = []
    for tool, update in _changing_tools():
        rows = [*update.cases, *update.others]
        chance.shuffle(rows)
        for number, case in enumerate(rows):
            asked_of_suite = number < HELD_OUT_PER_TOOL
            wordings = update.asked_otherwise if asked_of_suite else update.asked
            record = _asked(
                f"{update.tool}-{number}", tool, update.apply(tool), wordings[number % len(wordings)], case
            )
            (held_out if asked_of_suite else learned).append(record)
    chance.shuffle(learned)
    chance.shuffle(held_out)
    changed = frozenset(canonical_json(tool) for tool, _ in _changing_tools())
    made = _update(
        "changed schema", "hermes", [_example(row) for row in learned[:examples]], held_out[:cases]
    )
    return replace(made, changed=changed)


def _asked(
    name: str,
    tool: Record,
    shown: Record,
    wording: str,
    case: Mapping[str, Any],
    accept: Mapping[str, Any] | None = None,
) -> Record:
    words = {key: values[0] for key, values in case["accept"].items()} | dict(case.get("words", {}))
    call = {"name": shown["function"]["name"], "arguments": dict(accept or case["accept"])}
    message = {"role": "user", "content": wording.format(**words)}
    return {"id": name, "messages": [message], "tools": [shown], "accept": [call]}


def _update(name: str, format_name: str, examples: Sequence[Record], held_out: Sequence[Record]) -> Update:
    answered = tuple(_example(row) for row in held_out)
    return Update(name, format_name, tuple(examples), _suite(name, SuiteKind.TARGET, held_out), answered)


def _suite(name: str, kind: SuiteKind, rows: Sequence[Mapping[str, Any]]) -> Suite:
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return read_suite(lines.encode(), name=name, kind=kind, origin=name)


def _example(record: Record) -> Record:
    """The request answered by its calls, each parameter with the first value that is accepted."""
    tools = {tool["function"]["name"]: tool for tool in record["tools"]}
    calls = []
    for call in record["accept"]:
        case = bfcl.BfclCase(record["id"], "", tools[call["name"]], call["arguments"])
        arguments = json.dumps(data.arguments(case), ensure_ascii=False)
        calls.append({"type": "function", "function": {"name": call["name"], "arguments": arguments}})
    answer = {"role": "assistant", "tool_calls": calls}
    return {"id": record["id"], "messages": [*record["messages"], answer], "tools": record["tools"]}
