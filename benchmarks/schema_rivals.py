"""Which updates of real tool documents break callers, by adaptman and by what else one could install.

    python -m venv rivals && rivals/bin/pip install mcp-diff==0.1.0 mcplock==1.0.3
    npm i json-schema-diff@1.0.0
    python benchmarks/schema_rivals.py --folder DIR --python rivals/bin/python \\
        --node node_modules/.bin/json-schema-diff

DIR is that of `tool_histories.py`. What is true is not taken from any of them: a tool breaks where its name
is gone, or where some call is valid before and invalid after by `jsonschema`. Tried are calls drawn from the
old schema, those with one argument otherwise, and adaptman's own witnesses. mcp-diff and mcplock are asked
through the functions that their commands call, json-schema-diff through its command, tool by tool.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from tool_histories import LABELS, Step, steps

from adaptman.toolspec.canonical import canonical_schema
from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.samples import Sampler

_DRAWN = 200

_ASK = """
import json, sys
from mcp_diff.diff import classify_changes
from mcplock.diff import diff_snapshots
from mcplock.store import build_snapshot
from mcplock.hasher import hash_normalized
from mcplock.normalize import normalize_tools
def snapshot(tools):
    rows = {}
    for raw, one in zip(tools, normalize_tools(tools)):
        hashes = hash_normalized(one)
        rows[one.name] = {"description_hash": hashes.description_hash, "schema_hash": hashes.schema_hash,
            "annotations_hash": hashes.annotations_hash, "raw_description": raw.get("description"),
            "raw_schema": raw.get("inputSchema"), "raw_annotations": raw.get("annotations")}
    return {"server_id": "s", "hash_model_version": 1, "tools": rows}
def ask(old, new):
    found = diff_snapshots(snapshot(old), snapshot(new)).findings
    said = [[c.tool, c.severity] for c in classify_changes(old, new)]
    return {"mcp-diff": said, "mcplock": [[f.tool_name, f.severity] for f in found if f.change_type != "new"]}
json.dump([ask(*pair) for pair in json.load(sys.stdin)], sys.stdout)
"""
_FAILS = {"mcp-diff": {"breaking"}, "mcplock": {"medium", "high", "critical"}}
"""What counts as its saying so; mcplock's own default would be `high`, which a removed tool is not."""


@dataclass
class Score:
    """Tools rightly called broken, missed, and called broken though no call was found that breaks."""

    found: int = 0
    missed: int = 0
    false: int = 0
    renames: int = 0
    not_asked: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def count(self, step: str, said: set[str], true: set[str]) -> None:
        """Add an update."""
        self.found += len(said & true)
        self.missed += len(true - said)
        self.false += len(said - true)
        self.names.update(f"{step}: missed {name}" for name in true - said)
        self.names.update(f"{step}: false {name}" for name in said - true)


def raw_tools(path: Path) -> list[dict[str, Any]]:
    """The tools as the server sent them."""
    source = json.loads(path.read_text(encoding="utf-8"))
    listed = source.get("result", source).get("tools") if isinstance(source, dict) else source
    assert isinstance(listed, list), path
    return listed


def broken(old: Iterable[Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], step: Step) -> set[str]:
    """The names of the old tools of which some call is not right any more."""
    witnesses: dict[str, list[Any]] = {}
    for tool in step.changes.tools:
        calls = [change.witness for change in tool.changes if change.witness is not None]
        witnesses.setdefault(tool.old_name or tool.name, []).extend(calls)
    found = set()
    for tool in old:
        name = tool["name"]
        if name not in new or _breaks(tool["inputSchema"], new[name]["inputSchema"], witnesses.get(name, [])):
            found.add(name)
    return found


def _breaks(old: Any, new: Any, tried: list[Any]) -> bool:
    if old == new:
        return False
    before, after = Draft202012Validator(old), Draft202012Validator(new)
    contract = canonical_schema(old)
    calls = [*tried, *Sampler(contract).samples(contract.schema, _DRAWN)]
    more = (one for call in calls for one in changed(call))
    return any(before.is_valid(call) and not after.is_valid(call) for call in more)


def changed(call: Any) -> Iterator[Any]:
    """The call, and the call with one thing otherwise: an argument left out, of another kind, or one more."""
    yield call
    if not isinstance(call, dict):
        return
    yield {**call, "no_such_argument": 1}
    for name in call:
        yield {key: value for key, value in call.items() if key != name}
        for other in ("", "text", 0, -1, 10**9, 0.5, True, None, [], {}, ["text"]):
            yield {**call, name: other}


def flagged(python: Path, pairs: list[Any]) -> list[dict[str, set[str]]]:
    """For each pair of documents, the tools that mcp-diff and mcplock say break callers."""
    asked = subprocess.run(
        [python, "-c", _ASK], input=json.dumps(pairs), capture_output=True, text=True, check=True
    )
    return [
        {name: {tool for tool, severity in told if severity in _FAILS[name]} for name, told in said.items()}
        for said in json.loads(asked.stdout)
    ]


def json_schema_diff(command: Path, old: Any, new: Any) -> bool | None:
    """Whether it says that something is gone; None where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("old.json", "new.json")]
        for path, schema in zip(paths, (old, new), strict=True):
            path.write_text(json.dumps(schema), encoding="utf-8")
        done = subprocess.run([command, *paths], capture_output=True, text=True, check=False)
    _, asked, removed = (done.stdout + done.stderr).partition("were removed:")
    if asked:
        return removed.strip() != "false"
    return False if done.returncode == 0 else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--node", type=Path, required=True)
    told = parser.parse_args()
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    scores = {name: Score() for name in ("adaptman", "mcp-diff", "mcplock", "json-schema-diff")}
    updates = breaks = 0
    for step in steps(told.folder, labels):
        server, version = step.name.split(" ")
        versions = labels["versions"][server]
        before = versions[versions.index(version) - 1]
        old, new = (raw_tools(told.folder / f"{server}-{one}.json") for one in (before, version))
        now = {tool["name"]: tool for tool in new}
        true = broken(old, now, step)
        updates, breaks = updates + 1, breaks + len(true)
        ours = {
            tool.old_name or tool.name
            for tool in step.changes.tools
            if tool.status in ("removed", "renamed", "merged", "split")
            or any(change.change_class is ChangeClass.BREAKING for change in tool.changes)
        }
        scores["adaptman"].count(step.name, ours & {tool["name"] for tool in old}, true)
        renames = {old for tools in (labels["tools"].get(step.name, {}),) for old in tools}
        scores["adaptman"].renames += sum(
            tool.status == "renamed" and tool.old_name in renames for tool in step.changes.tools
        )
        (said,) = flagged(told.python, [[old, new]])
        for name, names in said.items():
            scores[name].count(step.name, names, true)
        removed, score = set(), scores["json-schema-diff"]
        for tool in old:
            if tool["name"] not in now or tool["inputSchema"] == now[tool["name"]]["inputSchema"]:
                continue
            gone = json_schema_diff(told.node, tool["inputSchema"], now[tool["name"]]["inputSchema"])
            score.not_asked += gone is None
            if gone:
                removed.add(tool["name"])
        score.count(step.name, removed, {name for name in true if name in now})
    print(f"{updates} updates, {breaks} tools that break callers")
    print(
        "| | found | missed | false | renames found | could not read |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, score in scores.items():
        cells = [score.found, score.missed, score.false, score.renames, score.not_asked]
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    for name, score in scores.items():
        for line in sorted(score.names):
            print(f"{name}: {line}")


if __name__ == "__main__":
    main()
