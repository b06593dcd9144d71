"""Which questions of the demo's general suite does a model answer rightly, and which does it only just know?

    python benchmarks/check_general.py MODEL_DIRECTORY [--disturbed N]

MODEL_DIRECTORY is a checkpoint in safetensors, such as `adaptman version export 1 --merged --to DIR` writes.
Every question is asked as it stands, and again of the model with Gaussian noise on its weight matrices, 2 %
of each one's standard deviation, under N seeds. A question whose answer changes with that is no measure of
forgetting: any update at all would change it. The suite was chosen so that the embedded model's answers hold.

The exit code is 1 where an answer differs from the suite's `known_wrong` flag.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from adaptman.evaluation.runner import Conversation
from adaptman.evaluation.scorers import score_reply
from adaptman.evaluation.suites import Suite, SuiteKind, read_suite
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.models import LoadedModel, disturb, load
from adaptman.toolspec.formats import output_format

NEW_TOKENS = 24
NOISE = 0.02
FORMAT = output_format("hermes")


def general_suite() -> Suite:
    """The suite as the package holds it."""
    data = files("adaptman.demo").joinpath("general.jsonl").read_bytes()
    return read_suite(data, name="general", kind=SuiteKind.GENERAL, origin="general.jsonl")


def answers(suite: Suite, loaded: LoadedModel) -> list[str]:
    """The model's greedy answers of at most `NEW_TOKENS` tokens."""
    answerer = ModelAnswerer(loaded, ChatRenderer(loaded.tokenizer, FORMAT))
    conversations = [Conversation(case.messages, case.tools) for case in suite.cases]
    return answerer.answer(conversations, max_new_tokens=NEW_TOKENS)


def differing(suite: Suite, outputs: Sequence[str]) -> list[str]:
    """Ids of the cases that are answered otherwise than their flags say; each is printed."""
    found = []
    for case, output in zip(suite.cases, outputs, strict=True):
        right = score_reply(SuiteKind.GENERAL, case, output, FORMAT).value == 1.0
        if right is case.known_wrong:
            print(f"{case.id}  {case.messages[-1]['content']}  →  {output!r}")
            found.append(case.id)
    return found


def main() -> int:
    """Asks every question and compares the answers with the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL_DIRECTORY")
    parser.add_argument("--disturbed", type=int, default=4, metavar="N", help="seeds of noise (default: 4)")
    args = parser.parse_args()
    suite = general_suite()
    wrong = sum(case.known_wrong for case in suite.cases)
    print(f"{len(suite.cases)} questions, {wrong} of them known to be answered wrongly")
    found = differing(suite, answers(suite, load(args.model)))
    print(f"as it stands: {len(found)} differ from their flags")
    for seed in range(args.disturbed):
        loaded = load(args.model)
        disturb(loaded, seed, NOISE)
        more = differing(suite, answers(suite, loaded))
        print(f"disturbed, seed {seed}: {len(more)} differ from their flags")
        found += more
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
