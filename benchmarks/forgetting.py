"""What a stream of updates leaves of what was learned before: every strategy, on the same stream and budget.

    python benchmarks/forgetting.py --results docs/benchmarks/results/forgetting
    python benchmarks/forgetting.py --results DIR --strategies default,none --lr 1e-4,5e-4 --seeds 0,1,2

Five updates, a stream of `forgetting_stream.py`, are taught one after the other to the embedded model, or
to `--base`. Each run, that is a strategy at a learning rate with a seed, has a process and a results file
of its own: one JSON line for each update. A run that was stopped goes on at the update it had come to;
beginnings that two runs share are taught once. `forgetting_report.py` makes the table and the picture from
the files.

Equal tokens: every strategy sees the same new examples, so many a step, and beside them replay of about the
same length: two stored examples weigh as much as four samples of at most 64 tokens. A strategy that replays
nothing has two more new examples in their place, but for `none-same-steps`. `--steps` gives the strategies
that draw no samples the time that the others spend on it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from forgetting_strategies import Plan, recipe_of
from forgetting_stream import STREAMS, Record, Stream, Update

from adaptman.artifacts.folder import digest_of
from adaptman.errors import TrainingError
from adaptman.evaluation.runner import SuiteResult, run_suite
from adaptman.evaluation.suites import Suite
from adaptman.learning import capacity, drawing, earlier, models, trainer
from adaptman.learning.answerer import ModelAnswerer
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.kept import put
from adaptman.learning.losses import top_k_of
from adaptman.learning.models import LoadedModel
from adaptman.learning.packing import RowReader, predicting
from adaptman.learning.recipe import Recipe, ReplayRecipe
from adaptman.learning.replay import ReplaySample, ReplaySet
from adaptman.toolspec.formats import OutputFormat, output_format
from adaptman.toolspec.jsontext import canonical_json
from adaptman.toolspec.questions import calls_of, makes_calls
from adaptman.toolspec.readers import document_from_openai
from adaptman.toolspec.validate import fits, is_fitting_call

_OLD_SAMPLES, _OLD_TOKENS, _TEACHER_TOP = 24, 64, 256
_DRIFT_CASES = 16
_ANSWER_TOKENS = 192


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    base: Path
    results: Path
    work: Path
    examples: int
    cases: int
    threads: int
    whole_matrix: bool
    stream_name: str
    command: str
    device: str

    @property
    def mark(self) -> str:
        """What tells the files of another device from those of the CPU."""
        return "" if self.device == "cpu" else f"-{self.device.replace(':', '')}"

    def use_hardware(self) -> None:
        torch.set_num_threads(self.threads)
        models.use_device(self.device)

    def stream(self, seed: int) -> Stream:
        return STREAMS[self.stream_name](examples=self.examples, cases=self.cases, seed=seed)


class Asked:
    """A model in an output format, asked for scores and for how far it has moved from the base."""

    def __init__(self, loaded: LoadedModel, format_name: str) -> None:
        self.loaded, self.fmt = loaded, output_format(format_name)
        self.renderer = ChatRenderer(loaded.tokenizer, self.fmt)

    def scores(self, suites: Sequence[Suite]) -> dict[str, Any]:
        return {suite.name: _as_record(self._run(suite)) for suite in suites}

    def _run(self, suite: Suite) -> SuiteResult:
        answerer = ModelAnswerer(self.loaded, self.renderer)
        most = 24 if suite.name == "general" else _ANSWER_TOKENS
        return run_suite(
            suite, answerer, self.fmt, max_new_tokens=most, clock=time.monotonic, on_done=lambda done: None
        )

    def drift(self, samples: Sequence[ReplaySample]) -> float:
        """KL(base ‖ model) in nats per token, a lower bound by the base's 256 likeliest tokens."""
        return float(capacity.drift(self.loaded, samples).sum()) / sum(len(one.positions) for one in samples)

    def taught(self, records: Sequence[Record]) -> list[ReplaySample]:
        """Written answers with this model's own predictions of their tokens."""
        items = [self.renderer.answered(record["messages"], record["tools"]) for record in records]
        rows = [item.ids for item in items]
        positions = [torch.arange(item.prompt_length, len(item.ids)) for item in items]
        read = RowReader(self.loaded.model.base_model, longest=max(map(len, rows)))
        head, found = models.head_weight(self.loaded.model), {}
        with torch.inference_mode():
            for index, hidden in chain.from_iterable(predicting(read, rows, positions, budget=4096)):
                found[index] = top_k_of((hidden @ head.T).cpu(), _TEACHER_TOP)
        return [
            ReplaySample("exemplar", ids, where, found[at])
            for at, (ids, where) in enumerate(zip(rows, positions, strict=True))
        ]


def _as_record(result: SuiteResult) -> dict[str, Any]:
    return {
        "value": result.value, "low": result.low, "high": result.high,
        "right": {one.case_id: one.score for one in result.outcomes}, "seconds": round(result.duration_s, 1),
    }  # fmt: skip


# --- the base, asked once ---------------------------------------------------------------------------------


def ask_base(setting: Setting, seed: int) -> None:
    """Scores of the base, and its own samples and predictions, by which drift is measured."""
    setting.use_hardware()
    if not _base_scores(setting, seed).exists():
        _score_base(setting, seed)
    if not (_base_folder(setting, seed) / "old.safetensors").exists():
        _sample_base(setting, seed)


def _base_scores(setting: Setting, seed: int) -> Path:
    return setting.results / f"base-seed{seed}{setting.mark}.jsonl"


def _score_base(setting: Setting, seed: int) -> None:
    data, loaded = setting.stream(seed), models.load(setting.base)
    scores: dict[str, Any] = Asked(loaded, "hermes").scores([data.general, data.irrelevance])
    if setting.whole_matrix:  # it has never seen a call: long answers, none of them right
        for update in data.updates:
            scores |= Asked(loaded, update.format_name).scores([update.suite])
    _append(_base_scores(setting, seed), {"update": "base", "scores": scores, **_environment(setting)})


def _sample_base(setting: Setting, seed: int) -> None:
    """The samples last, since they tell that all is there."""
    folder, loaded = _base_folder(setting, seed), models.load(setting.base)
    folder.mkdir(parents=True, exist_ok=True)
    for update in setting.stream(seed).updates:
        taught = Asked(loaded, update.format_name).taught(update.held_out[:_DRIFT_CASES])
        put(folder / f"{_slug(update.name)}.safetensors", ReplaySet(tuple(taught), {}).to_bytes())
    settings = ReplayRecipe(
        samples=_OLD_SAMPLES, max_tokens=_OLD_TOKENS, top_k=_TEACHER_TOP, free=1, chat=1, tools=0
    )
    old = drawing.generate(loaded, Asked(loaded, "hermes").renderer, settings, [], seed + 10_000)
    put(folder / "old.safetensors", old.to_bytes())


def _base_folder(setting: Setting, seed: int) -> Path:
    return setting.work / f"base-{_key(setting)}-seed{seed}"


def _key(setting: Setting) -> str:
    """What two runs have in common that share what was made for one of them."""
    matrix = "-matrix" if setting.whole_matrix else ""
    cases = f"{setting.stream_name}-{setting.examples}-{setting.cases}"
    return f"{cases}-{_weights_of(setting.base)}{matrix}{setting.mark}"


@cache
def _weights_of(base: Path) -> str:
    digests = [digest_of(path) for path in sorted(base.glob("*.safetensors"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:8]


# --- a run ------------------------------------------------------------------------------------------------


def run(plan: Plan, setting: Setting) -> str:
    """Teach the stream by one strategy; what is in the results file already is not taught again."""
    setting.use_hardware()
    data, path = setting.stream(plan.seed), setting.results / f"{plan.name}{setting.mark}.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    parent, key = None, _key(setting)
    for number, update in enumerate(data.updates):
        recipe = recipe_of(plan, first=number == 0)
        key = hashlib.sha256(f"{key}/{update.name}/{recipe.digest}".encode()).hexdigest()[:16]
        folder = setting.work / key
        if number < len(done) and (folder / "adapter").exists():
            parent = folder / "adapter"
            continue
        stage = _Stage(plan, setting, data, number, recipe, folder, parent)
        record = stage.record()
        if number >= len(done):
            _append(path, {**plan._asdict(), **record, **_environment(setting)})
        parent = folder / "adapter"
    return plan.name


@dataclass(frozen=True)
class _Stage:
    """One update of a run; `folder` is shared by all runs that come to it in the same way."""

    plan: Plan
    setting: Setting
    data: Stream
    number: int
    recipe: Recipe
    folder: Path
    parent: Path | None

    @property
    def update(self) -> Update:
        return self.data.updates[self.number]

    def record(self) -> dict[str, Any]:
        path = self.folder / "record.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:  # two runs may begin alike, and at one time
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                found = {"update": self.update.name, **self._taught(), **self._asked()}
                path.write_text(json.dumps(found))
        return json.loads(path.read_text())

    def _taught(self) -> dict[str, Any]:
        fmt = output_format(self.update.format_name)
        with _Clock() as drawing:
            replayed, recipe = self._replay(fmt)
        renderer = ChatRenderer(models.load_tokenizer(self.setting.base), fmt)
        encoded = [renderer.answered(one["messages"], one["tools"]) for one in self.update.examples]
        with _Clock() as training:
            trained = trainer.train(self.setting.base, self.parent, encoded, replayed, recipe, self.folder)
        return {
            "recipe": recipe.to_dict(), "new_tokens": trained.new_tokens,
            "replay_tokens": trained.replay_tokens, "replay": replayed.report if replayed else None,
            "drawing": drawing.told, "training": training.told,
            "last_new_loss": trained.curves["train/new_loss"][-1][1],
            "peak_memory_mb": round(trained.curves["train/peak_memory_mib"][-1][1]),
        }  # fmt: skip

    def _replay(self, fmt: OutputFormat) -> tuple[ReplaySet | None, Recipe]:
        """What is replayed; nothing where a strategy finds nothing, whose place new examples take then."""
        if self.recipe.replay.kind == "none":
            return None, self.recipe
        try:
            return self._drawn(fmt), self.recipe
        except TrainingError as error:
            if error.__cause__:  # memory ran out
                raise
            return None, recipe_of(self.plan, has_replay=False)

    def _drawn(self, fmt: OutputFormat) -> ReplaySet:
        recipe, seed = self.recipe.drawn(self.update.declined), self.recipe.seed
        if recipe.kind == "exemplar":
            renderer = ChatRenderer(models.load_tokenizer(self.setting.base), fmt)
            return earlier.exemplars(renderer, self._earlier_examples(fmt), recipe, seed)
        loaded = models.load(self.setting.base, self.parent)
        renderer = ChatRenderer(loaded.tokenizer, fmt)
        if recipe.kind == "opr":
            return earlier.answered(loaded, renderer, self._earlier_examples(fmt), recipe, seed)
        if recipe.kind == "ssr":
            base = models.load(self.setting.base)
            return earlier.synthesized(base, loaded, renderer, self._earlier_examples(fmt), recipe, seed)
        written_now = output_format(self.written_now)
        before = ChatRenderer(loaded.tokenizer, written_now) if written_now.digest != fmt.digest else None
        prompts = self._tool_prompts()
        # An update without tools leaves those that there are in force.
        shown = self.update.tools or [tool for prompt in prompts for tool in prompt.tools]
        return drawing.generate(loaded, renderer, recipe, prompts, seed, shown=shown, before=before)

    @property
    def written_now(self) -> str:
        """The format that the model writes calls in before the update."""
        return self.data.updates[max(0, self.number - 1)].format_name

    def _earlier(self) -> list[tuple[int, Update]]:
        return list(enumerate(self.data.updates[: self.number]))

    def _still_right(self, number: int, tools: Sequence[Record]) -> bool:
        later = self.data.updates[number + 1 : self.number + 1]
        gone = {text for update in later for text in update.changed}
        return not any(canonical_json(tool) in gone for tool in tools)

    def _tool_prompts(self) -> list[drawing.ToolPrompt]:
        """The earlier tools that are as they were."""
        return [
            drawing.ToolPrompt((tool,), partial(fits, document_from_openai([tool])), number)
            for number, update in self._earlier()
            for tool in update.tools
            if self._still_right(number, [tool])
        ]

    def _earlier_examples(self, fmt: OutputFormat) -> list[earlier.EarlierExample]:
        return [
            earlier.EarlierExample(
                one["messages"], one["tools"], number,
                accepts=partial(_is_right, fmt, one["messages"][-1]),
                valid=partial(_calls, fmt, one["tools"]),
            )
            for number, update in self._earlier()
            for one in update.examples
            if self._still_right(number, one["tools"])
        ]  # fmt: skip

    def _asked(self) -> dict[str, Any]:
        """Its own suite; after the last update every one, and what belongs to none."""
        last = self.number + 1 == len(self.data.updates)
        suites = [self.update.suite]
        if self.setting.whole_matrix or last:
            until = self.number + 2 if self.setting.whole_matrix else self.number + 1
            suites = [update.suite for update in self.data.updates[:until]]
            suites += [self.data.general, self.data.irrelevance]
        with _Clock() as asking:
            asked = Asked(models.load(self.setting.base, self.folder / "adapter"), self.update.format_name)
            scores = asked.scores(suites)
            folder = _base_folder(self.setting, self.plan.seed)
            drift = {
                name: asked.drift(ReplaySet.from_file(str(folder / f"{file}.safetensors")).samples)
                for name, file in (("old", "old"), ("new", _slug(self.update.name)))
            }
        return {"scores": scores, "drift": drift, "asking": asking.told}


def _calls(fmt: OutputFormat, tools: Sequence[Record], reply: str) -> bool:
    return is_fitting_call(document_from_openai(tools), fmt.parse(reply))


def _is_right(fmt: OutputFormat, answer: Record, reply: str) -> bool:
    return makes_calls(fmt.parse(reply), calls_of(answer))


class _Clock:
    """Seconds by the wall and of this process's cores: the latter do not count what else the machine does."""

    def __enter__(self) -> _Clock:
        self._began = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *raised: object) -> None:
        wall, cores = time.monotonic() - self._began[0], time.process_time() - self._began[1]
        self.told = {"wall_s": round(wall, 1), "cpu_s": round(cores, 1)}


# --- files and the command --------------------------------------------------------------------------------


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _environment(setting: Setting) -> dict[str, Any]:
    import peft
    import transformers

    return {
        "device": platform.machine() if setting.device == "cpu" else models.hardware()["device"],
        "threads": setting.threads, "command": setting.command, "examples": setting.examples,
        "cases": setting.cases, "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__, "peft": peft.__version__,
    }  # fmt: skip


def _base(given: Path | None, work: Path) -> Path:
    target = given or work / "base"
    if given is None and not target.exists():
        models.convert(models.embedded_gguf(), target)
    if not (target / "config.json").exists():
        raise SystemExit(f"`{target}` holds no checkpoint")
    return target


def main() -> None:
    """Run what is asked for, so many runs at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/forgetting"), help="adapters, kept to go on")
    parser.add_argument("--base", type=Path, help="a converted checkpoint (the embedded model)")
    parser.add_argument("--stream", choices=STREAMS, default="alike")
    parser.add_argument("--strategies", default="default,none,self,exemplar-10,opr-10,ssr")
    parser.add_argument("--lr", default="5e-4")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--cases", type=int, default=32)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 where the processor multiplies it"
    )
    parser.add_argument("--whole-matrix", action="store_true", help="every suite so far after each update")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        _base(given.base, given.work), given.results, given.work, given.examples, given.cases, given.threads,
        given.whole_matrix, given.stream, " ".join(["python", *sys.argv]), given.device,
    )  # fmt: skip
    seeds = [int(seed) for seed in given.seeds.split(",")]
    plans = [
        Plan(strategy, float(lr), seed, given.steps, given.precision)
        for seed in seeds
        for strategy in given.strategies.split(",")
        for lr in given.lr.split(",")
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(given.workers, mp_context=context, max_tasks_per_child=1) as pool:
        list(pool.map(partial(ask_base, setting), seeds))
        for name in pool.map(partial(run, setting=setting), plans):
            print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)


if __name__ == "__main__":
    main()
