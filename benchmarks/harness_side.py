"""The side of lm-evaluation-harness in `suite_speed.py`: a process that runs a task when it has its turn.

The request holds the checkpoint's folder, and the folder and the names of the tasks. A turn is asked for with
a task and a batch size; it is answered with the text of each reply, or the number of the likeliest choice.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from turns import Turns


def answer(sample: dict[str, Any]) -> str:
    """What the model said to one document."""
    if sample["arguments"] and len(sample["filtered_resps"]) == 1:
        return str(sample["filtered_resps"][0]).strip()
    likelihoods = [float(one[0]) for one in sample["filtered_resps"]]
    return str(max(range(len(likelihoods)), key=likelihoods.__getitem__))


def main() -> None:
    """Load model and tasks, then take turns."""
    request, turns = json.loads(sys.stdin.readline()), Turns()
    from importlib.metadata import version

    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(request["base"], device="cpu", dtype="float32", add_bos_token=False)
    manager = TaskManager(include_path=request["folder"], include_defaults=False)
    tasks = {name: manager.load(name)["tasks"][name] for name in request["tasks"]}
    while asked := turns.wait():
        if "versions" in asked:
            turns.done(versions=f"lm-eval {version('lm_eval')}, transformers {version('transformers')}")
            continue
        model.batch_size_per_gpu = asked["batch_size"]
        name = asked["task"]
        # Not `simple_evaluate`, which also asks the machine for its compilers and packages, for seconds.
        found = evaluate(model, {"tasks": {name: tasks[name]}}, bootstrap_iters=0)
        samples = sorted(found["samples"][name], key=lambda sample: int(sample["doc_id"]))
        turns.done(answers=[answer(sample) for sample in samples])


if __name__ == "__main__":
    main()
