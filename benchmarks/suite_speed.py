"""A suite's run beside lm-evaluation-harness: the same cases, the same answers, seconds of each.

    python -m venv rivals
    rivals/bin/pip install torch==2.13.0 transformers==5.23.0 lm_eval==0.4.13
    python benchmarks/suite_speed.py --folder DIR --python rivals/bin/python [--rounds N] [--cases N]

DIR keeps the converted model. Three suites on the embedded model: the demo's general questions with four
choices each, of which three are the answers to other questions of the same kind; the same questions answered
in words (greedily, at most 32 tokens); and the demo's requests under their tools (at most 96 tokens).
adaptman's side is `run_suite` with a `ModelAnswerer`. The harness gets the prompts as adaptman writes them,
as tasks of multiple choice and of generation, in the best of `--sizes` for its batches, each tried once
before the rounds; loading model and tasks is not timed. The two take turns. Cases are the same in both where
the same choice is the likeliest, or the same text was written.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from speed_setting import Setting, print_table, said, spread
from turns import Side

from adaptman.demo.data import DemoFiles, prepare
from adaptman.evaluation.runner import SuiteResult, run_suite
from adaptman.evaluation.suites import Case, Suite, SuiteKind, read_suite
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.models import load

_END = "<|im_end|>"


@dataclass(frozen=True)
class Race:
    """A suite, and how many tokens an answer may have."""

    suite: Suite
    most: int

    @property
    def name(self) -> str:
        return self.suite.name


def races(files: DemoFiles, count: int) -> list[Race]:
    """The three suites, of at most `count` cases each."""
    general = _lines(files.general)
    asked = [(SuiteKind.GENERAL, "choices", _with_choices(general)[:count], 0)]
    asked += [(SuiteKind.GENERAL, "words", general[:count], 32)]
    asked += [(SuiteKind.TARGET, "calls", _lines(files.target_1)[:count], 96)]
    found = []
    for kind, name, records, most in asked:
        data = "".join(json.dumps(record) + "\n" for record in records).encode()
        found.append(Race(read_suite(data, name=name, kind=kind, origin=name), most))
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _with_choices(general: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The questions of groups with enough different answers, each with three wrong ones."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in general:
        groups.setdefault(record["id"].rpartition("-")[0], []).append(record)
    found = []
    for group in groups.values():
        for at, record in enumerate(group):
            right = record["answers"][0]
            others = [other["answers"][0] for other in (*group[at + 1 :], *group[:at])]
            choices = list(dict.fromkeys([right, *(one for one in others if one not in record["answers"])]))[
                :4
            ]
            if len(choices) == 4:
                case = {"id": record["id"], "messages": record["messages"]}
                found.append({**case, "choices": sorted(choices), "answer": right})
    return found


def as_task(race: Race, setting: Setting, folder: Path) -> None:
    """Write the suite as a task of the harness: the prompt's text, and the choices with their end."""
    documents = folder / f"{race.name}.jsonl"
    with documents.open("w", encoding="utf-8") as file:
        for case in race.suite.cases:
            file.write(json.dumps(_document(case, setting)) + "\n")
    task = {
        "task": race.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(documents)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "prompt",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "output_type": "generate_until" if race.most else "multiple_choice",
        **(
            {"generation_kwargs": {"until": [_END], "do_sample": False, "max_gen_toks": race.most}}
            if race.most
            else {"doc_to_choice": "choices"}
        ),
        "metric_list": [{"metric": "exact_match" if race.most else "acc"}],
    }
    # JSON is YAML.
    (folder / f"{race.name}.yaml").write_text(json.dumps(task), encoding="utf-8")


def _document(case: Case, setting: Setting) -> dict[str, Any]:
    prompt = setting.renderer.prompt(case.messages, case.tools)
    if not case.choices:
        return {"prompt": prompt, "answer": ""}
    choices = [f"{choice}{_END}" for choice in case.choices]
    return {"prompt": prompt, "choices": choices, "answer": case.choices.index(case.answer)}


class Ours:
    """Runs suites with a loaded model."""

    def __init__(self, setting: Setting) -> None:
        self._format = setting.renderer.output_format
        self._answerer = ModelAnswerer(load(setting.base), setting.renderer)

    def run(self, race: Race) -> tuple[list[str], float, float]:
        """What was answered case by case, and the seconds, of the wall and of the processors."""
        began, before = time.perf_counter(), time.process_time()
        result = run_suite(
            race.suite,
            self._answerer,
            self._format,
            max_new_tokens=race.most,
            clock=time.perf_counter,
            on_done=lambda cases: None,
        )
        return answers(race, result), time.perf_counter() - began, time.process_time() - before


def answers(race: Race, result: SuiteResult) -> list[str]:
    """The text of each reply, or the number of the likeliest choice."""
    if race.most:
        return [outcome.output.strip() for outcome in result.outcomes]
    told = [outcome.detail.rpartition("log-likelihoods ")[2].split(", ") for outcome in result.outcomes]
    likelihoods = [[float(one) for one in row] for row in told]
    return [str(max(range(len(row)), key=row.__getitem__)) for row in likelihoods]


def compared(ours: Ours, theirs: Side, race: Race, sizes: Sequence[int], rounds: int) -> list[object]:
    """A line of the table."""
    tried = {size: theirs.turn({"task": race.name, "batch_size": size})["seconds"] for size in sizes}
    best = min(tried, key=lambda size: float(tried[size]))
    walls, processors, seconds = [], [], []
    for _ in range(rounds):
        told, wall, processor = ours.run(race)
        turn = theirs.turn({"task": race.name, "batch_size": best})
        walls.append(turn["seconds"] / wall)
        processors.append(turn["cpu_seconds"] / processor)
        seconds.append((wall, float(turn["seconds"])))
    same = sum(one == other for one, other in zip(told, turn["answers"], strict=True))
    means = [sum(side) / rounds for side in zip(*seconds, strict=True)]
    others = ", ".join(f"{size}: {taken:.1f}" for size, taken in tried.items())
    return [
        race.name,
        f"{same} of {len(told)}",
        *(f"{mean:.1f}" for mean in means),
        others,
        spread(walls),
        spread(processors),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=48)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32])
    asked = parser.parse_args()
    setting = Setting.made(asked.folder)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = races(prepare(asked.folder / "data"), asked.cases)
        for race in chosen:
            as_task(race, setting, folder)
        request = {"base": str(setting.base), "folder": name, "tasks": [race.name for race in chosen]}
        theirs = Side(asked.python, "harness_side.py", "lm-eval", request, folder / "lm-eval.log")
        ours = Ours(setting)
        print(
            said(torch.get_num_threads()), theirs.turn({"versions": True})["versions"], sep="\n", end="\n\n"
        )
        columns = ["suite", "same", "adaptman, s", "lm-eval, s", "lm-eval by batch size, s"]
        print_table(
            [*columns, "ratio", "ratio, processor time"],
            (compared(ours, theirs, race, asked.sizes, asked.rounds) for race in chosen),
        )
        theirs.end()


if __name__ == "__main__":
    main()
