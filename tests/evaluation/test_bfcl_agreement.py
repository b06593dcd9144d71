"""Our call scorer and the leaderboard's own checker say the same of tens of thousands of calls.

The calls are made from the accepted answers in the wheel `bfcl-eval`, left right or made wrong in one way.
The checker is the wheel's, with the one import stubbed that would load every model's client.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from adaptman.evaluation.bfcl import CATEGORIES, BfclData, read_category, wheel_data
from adaptman.evaluation.bfcl_rules import check_calls
from adaptman.evaluation.suites import ExpectedCall, SuiteKind
from adaptman.toolspec.formats import ToolCall
from tests.evaluation.bfcl_mutations import MUTATIONS, Material
from tests.evaluation.bfcl_source_text import can_be_written, source_text

pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")

WITH_ANSWERS = [name for name, kind in CATEGORIES.items() if kind is SuiteKind.TOOLS]
LANGUAGES = {"simple_java": "java", "simple_javascript": "javascript"}
# Two fifths of all cases are in this category: every third of them is taken.
STEPS = {"live_multiple": 3}


class Fault(NamedTuple):
    """Where the leaderboard's checker does not do what its rules say, and the cases that meet it."""

    why: str
    says: bool
    """What the checker says of the call; ours says the opposite."""
    mutations: frozenset[str]
    """Ways of changing the call that meet the fault; "" for all of them."""
    cases: frozenset[str]


FAULTS = [
    Fault(
        "A whole number passes for a float, says its code, but not in lists: `[1, 3.0]` is not `[1.0, 3.0]`",
        False,
        frozenset({"integer for a float, inside"}),
        frozenset(
            {"simple_python_13", "simple_python_82", "simple_python_87", "simple_python_103"}
            | {"parallel_multiple_67", "live_simple_116-72-0"}
        ),
    ),
    Fault(
        "Where lists are compared, the mark of what may be left out, an empty text, is read as an empty list",
        True,
        frozenset({"empty list", "shorter list"}),
        frozenset(
            {"simple_python_178", "parallel_44", "parallel_52"}
            | {"parallel_multiple_117", "parallel_multiple_126", "parallel_multiple_132"}
        ),
    ),
    Fault(
        "Texts in a list within an object are compared to the letter: it is for flat objects, as it says",
        False,
        frozenset({"text in capitals, deep inside", "text with ignored punctuation, deep inside"}),
        frozenset({"simple_python_337", "simple_javascript_5", "parallel_multiple_135"}),
    ),
    Fault(
        "Within an object the types are not compared, and to Python `True == 1`",
        True,
        frozenset({"number for a boolean, inside", "boolean for a number, inside"}),
        frozenset(
            {"simple_javascript_20", "parallel_29"}
            | {f"live_simple_{which}" for which in ("40-17-0", "41-17-1", "42-17-2", "43-17-3", "44-18-0")}
            | {f"live_simple_{which}" for which in ("45-18-1", "51-23-0", "52-23-1")}
        ),
    ),
    Fault(
        "Calls are matched greedily: an expected one that two calls fit takes the only one that fits another",
        False,
        frozenset({"calls in another order", "calls reversed"}),
        frozenset({"parallel_178"}),
    ),
    Fault(
        "Java's `Object` is compared as text with the numbers that are accepted: `30` is not `30.0`",
        False,
        frozenset({"integer for a float"}),
        frozenset({"simple_java_62"}),
    ),
    Fault(
        "The accepted answer has a text where a list of texts belongs: each of its letters is accepted",
        False,
        frozenset({""}),
        frozenset({"simple_java_64"}),
    ),
    Fault(
        "The same: an empty text stands in every text, so that the key may be left out or empty",
        True,
        frozenset({"object without a key", "empty object", "empty text, inside"}),
        frozenset({"simple_java_64"}),
    ),
]


class Disagreement(NamedTuple):
    case: str
    mutation: str
    theirs: bool


@dataclass(frozen=True)
class Checker:
    """The wheel's checker and its converters of source text."""

    check: Any
    languages: Any
    convert: Mapping[str, Any]

    def says(
        self, row: Mapping[str, Any], calls: Sequence[ToolCall], answer: Any, category: str
    ) -> bool | None:
        """Its verdict; None where an argument has no source text in the category's language."""
        language = LANGUAGES.get(category, "python")
        parameters = {tool["name"]: tool["parameters"]["properties"] for tool in row["function"]}
        written = [self._written(call, parameters.get(call.name, {}), language) for call in calls]
        if None in written:
            return None
        verdict = self.check(row["function"], written, answer, self.languages(language), category, "model")
        return bool(verdict["valid"])

    def _written(self, call: ToolCall, schemas: Mapping[str, Any], language: str) -> dict[str, Any] | None:
        if language == "python":
            return {call.name: copy.deepcopy(call.arguments)}
        arguments = {}
        for name, value in call.arguments.items():
            schema = schemas.get(name, {"type": "any"})
            if not can_be_written(value, schema, language, self.convert[language]):
                return None
            arguments[name] = source_text(value, schema, language)
        return {call.name: arguments}


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """The wheel's checker, imported without the clients of the models that it knows."""
    stub = ModuleType("bfcl_eval.constants.model_config")
    stub.MODEL_CONFIG_MAPPING = {"model": SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, stub.__name__, stub)
        from bfcl_eval.constants.enums import Language
        from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker
        from bfcl_eval.eval_checker.ast_eval.type_convertor.java_type_converter import java_type_converter
        from bfcl_eval.eval_checker.ast_eval.type_convertor.js_type_converter import js_type_converter

        yield Checker(ast_checker, Language, {"java": java_type_converter, "javascript": js_type_converter})
    for name in [name for name in sys.modules if name.partition(".")[0] == "bfcl_eval"]:
        del sys.modules[name]


@dataclass
class Comparison:
    """What was compared in a category, and where the two differ."""

    both: Counter[bool]
    unwritable: int
    disagreements: list[Disagreement]


def compare(checker: Checker, data: BfclData, category: str) -> Comparison:
    rows = {row["id"]: row for row in data.rows(f"BFCL_v4_{category}.json")}
    answers = {
        row["id"]: row["ground_truth"] for row in data.rows(f"possible_answer/BFCL_v4_{category}.json")
    }
    found = Comparison(Counter(), 0, [])
    for record in read_category(data, category).records[:: STEPS.get(category, 1)]:
        case = record["id"]
        accept = [ExpectedCall(**call) for call in record["accept"]]
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in record["tools"]}
        material = Material(accept, schemas, random.Random(case))
        for mutation, mutate in MUTATIONS.items():
            calls = mutate(material)
            if calls is None:
                continue
            theirs = checker.says(rows[case], calls, answers[case], category)
            if theirs is None:
                found.unwritable += 1
                continue
            ours = not check_calls(calls, accept, record["tools"])
            if ours == theirs:
                found.both[ours] += 1
            else:
                found.disagreements.append(Disagreement(case, mutation, theirs))
    return found


@pytest.fixture(scope="module")
def comparisons(checker: Checker) -> dict[str, Comparison]:
    data = wheel_data()
    return {category: compare(checker, data, category) for category in WITH_ANSWERS}


def explained(one: Disagreement) -> list[Fault]:
    return [
        fault
        for fault in FAULTS
        if one.case in fault.cases and one.theirs == fault.says and fault.mutations & {"", one.mutation}
    ]


@pytest.mark.slow
@pytest.mark.parametrize("category", WITH_ANSWERS)
def test_every_verdict_is_the_leaderboards(comparisons: dict[str, Comparison], category: str) -> None:
    found = comparisons[category]
    assert [one for one in found.disagreements if not explained(one)] == []
    assert found.both[True] > 5 * found.both[False] / 100 > 0
    assert found.unwritable < 0.15 * sum(found.both.values())


@pytest.mark.slow
def test_tens_of_thousands_of_calls_are_compared(comparisons: dict[str, Comparison]) -> None:
    both = sum((found.both for found in comparisons.values()), Counter[bool]())
    assert both[True] > 10_000
    assert both[False] > 25_000


@pytest.mark.slow
def test_every_fault_is_still_met(comparisons: dict[str, Comparison]) -> None:
    met = {
        (fault.why, one.case)
        for found in comparisons.values()
        for one in found.disagreements
        for fault in explained(one)
    }
    assert {(fault.why, case) for fault in FAULTS for case in fault.cases} - met == set()
