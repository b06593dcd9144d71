"""The demo's second update: twelve tools of the first one, four of them changed in each of three ways.

- renamed: the `math.*` tools move to `arithmetic.*`;
- newly required: a parameter that was optional must be given. Where the request does not say it, the value
  that the parameter's description calls its default is the right one;
- enum narrowed: values are gone, and a request that means one of them is answered by the nearest value left
  (`feet` → `meter`, `six_months` → `year`, `Like New` → `New`, `medium` → `large`).

The enums are BFCL's own. The requests were written for the project, since BFCL has one request a tool; they
differ in values and wording, so that the held-out ones repeat none of the examples.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

_FILE = "second_update.json"
# Requests for each tool that are kept for the suite, one of the others among them where there are any.
HELD_OUT_PER_TOOL = 4


@dataclass(frozen=True)
class ToolUpdate:
    """One tool's change and the requests that exercise its new form.

    One of `rename` (the new name), `require` (the parameter now required) and `narrow` (the parameter and the
    values removed from its enum) is set. `asked` words the examples, `asked_otherwise` the held-out cases. In
    `cases` the change shows; `others` are answered as before.
    """

    tool: str
    asked: tuple[str, ...]
    asked_otherwise: tuple[str, ...]
    cases: tuple[Mapping[str, Any], ...]
    others: tuple[Mapping[str, Any], ...] = ()
    rename: str | None = None
    require: str | None = None
    narrow: Mapping[str, Any] | None = None

    def apply(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        """The tool, in OpenAI form, after the change; the rest of it is as it was."""
        changed = copy.deepcopy(dict(tool))
        function = changed["function"]
        if self.rename:
            function["name"] = self.rename
        if self.require:
            function["parameters"]["required"].append(self.require)
        if self.narrow:
            parameter = function["parameters"]["properties"][self.narrow["parameter"]]
            parameter["enum"] = [value for value in parameter["enum"] if value not in self.narrow["removed"]]
        return changed


@dataclass(frozen=True)
class Request:
    """A request for a tool that will change, with the accepted values of each parameter before it does."""

    id: str
    question: str
    tool: dict[str, Any]
    accept: dict[str, list[Any]]


def tool_updates() -> tuple[ToolUpdate, ...]:
    """The twelve changes, as the package holds them."""
    text = resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(_tool_update(row) for row in json.loads(text))


def _tool_update(row: Mapping[str, Any]) -> ToolUpdate:
    return ToolUpdate(
        tool=row["tool"],
        asked=tuple(row["asked"]),
        asked_otherwise=tuple(row["asked_otherwise"]),
        cases=tuple(row["cases"]),
        others=tuple(row.get("others", ())),
        rename=row.get("rename"),
        require=row.get("require"),
        narrow=row.get("narrow"),
    )


def changed_tools(tools: Sequence[Mapping[str, Any]], updates: Sequence[ToolUpdate]) -> list[dict[str, Any]]:
    """The tools in their order, those with an update changed."""
    by_name = {update.tool: update for update in updates}
    changed = []
    for tool in tools:
        update = by_name.get(tool["function"]["name"])
        changed.append(update.apply(tool) if update else dict(tool))
    return changed


def requests(
    update: ToolUpdate, tool: Mapping[str, Any], chance: random.Random
) -> tuple[list[Request], list[Request]]:
    """The requests for `tool`, as it is before the change: those to learn from, then those held out."""
    cases = [(case, True) for case in update.cases]
    others = [(case, False) for case in update.others]
    chance.shuffle(cases)
    chance.shuffle(others)
    count = HELD_OUT_PER_TOOL - len(others[:1])
    learned, held_out = cases[count:] + others[1:], cases[:count] + others[:1]
    return (
        [_request(update, tool, *case, update.asked, i, "new") for i, case in enumerate(learned)],
        [
            _request(update, tool, *case, update.asked_otherwise, i, "held-out")
            for i, case in enumerate(held_out)
        ],
    )


def _request(
    update: ToolUpdate,
    tool: Mapping[str, Any],
    case: Mapping[str, Any],
    shows_change: bool,
    wordings: Sequence[str],
    number: int,
    suffix: str,
) -> Request:
    after: dict[str, list[Any]] = case["accept"]
    words = {name: values[0] for name, values in after.items()} | dict(case.get("words", {}))
    text = wordings[number % len(wordings)].format(**words)
    accept = _before(update, after) if shows_change else after
    return Request(f"{update.tool}-{suffix}-{number}", text, dict(tool), accept)


def _before(update: ToolUpdate, after: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """What was right before the change: a value that is gone now, or nothing where something is required."""
    if update.narrow:
        return {**after, update.narrow["parameter"]: list(update.narrow["removed"])}
    if update.require:
        return {**after, update.require: [*after[update.require], ""]}
    return dict(after)


def migration_words(updates: Sequence[ToolUpdate]) -> list[str]:
    """What nobody but the team can know, as `examples migrate` and `suite generate` are told it."""
    words = []
    for update in updates:
        first: Mapping[str, list[Any]] = update.cases[0]["accept"]
        if update.narrow:
            parameter, (gone,) = update.narrow["parameter"], update.narrow["removed"]
            words += ["--map", f"{update.tool}.{parameter}:{gone}={first[parameter][0]}"]
        if update.require:
            words += ["--fill", f"{update.tool}.{update.require}={first[update.require][0]}"]
    return words
