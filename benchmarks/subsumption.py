"""Whether what is said of a change of schema holds: generated pairs, checked by plain `jsonschema`.

    python benchmarks/subsumption.py --pairs 20000 --seed 0

The pairs are those of the property tests. For each, every breaking change must have a witness that was valid
and is not; and where nothing is breaking or unknown, calls drawn from the old schema, and those with one
argument otherwise, must stay valid. Printed are the counts, and how often the answer was `unknown`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, Phase, given, seed, settings
from jsonschema import Draft202012Validator
from schema_rivals import changed

from adaptman.toolspec.changes import ChangeClass
from adaptman.toolspec.diff import diff
from adaptman.toolspec.samples import Sampler
from tests.toolspec.documents import one, schema_pairs, tool_of

_CALLS = 20


def _valid(schema: dict[str, Any], call: Any) -> bool:
    checker = Draft202012Validator.FORMAT_CHECKER
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(call))


def _refuted(old: dict[str, Any], new: dict[str, Any]) -> int:
    """Calls that were valid and are not, of a pair that is said to break none; and how many were tried."""
    contract = tool_of(old).contract
    told = contract.schema.get("properties", {}).keys()
    calls = Sampler(contract).samples(contract.schema, _CALLS)
    wrong = 0
    for call in (other for sample in calls for other in changed(sample)):
        # Names that no document ever told are nobody's right call.
        if not (isinstance(call, dict) and call.keys() - told) and _valid(old, call):
            wrong += not _valid(new, call)
    return wrong


def main() -> None:
    """Print the counts; exit code 1 where something said does not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found: Counter[str] = Counter()

    @seed(asked.seed)
    @settings(
        max_examples=asked.pairs, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(schema_pairs())
    def draw(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
        (tool,) = diff(one(pair[0]), one(pair[1])).tools
        classes = {change.change_class for change in tool.changes}
        found["pairs"] += 1
        for change in tool.changes:
            found[f"changes {change.change_class}"] += 1
            if change.change_class is ChangeClass.BREAKING:
                right = change.witness is not None and _valid(pair[0], change.witness)
                found["witnesses not confirmed"] += not (right and not _valid(pair[1], change.witness))
        if ChangeClass.UNKNOWN in classes:
            found["pairs with unknown"] += 1
        elif ChangeClass.BREAKING in classes:
            found["pairs that break"] += 1
        else:
            found["pairs wider or same"] += 1
            found["refuted"] += _refuted(*pair) > 0

    began = time.perf_counter()
    draw()
    for name in sorted({*found, "refuted", "witnesses not confirmed"}):
        print(f"{name}: {found[name]}")
    print(f"seconds: {time.perf_counter() - began:.0f}")
    sys.exit(found["refuted"] + found["witnesses not confirmed"] > 0)


if __name__ == "__main__":
    main()
