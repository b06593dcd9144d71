"""Memory and processor time of training on long examples, with and without gradient checkpointing.

    python benchmarks/training_memory.py --folder DIR [--lengths 384,1536] [--steps N]

DIR keeps the converted model, the embedded one. Two examples of random tokens a step, of which the last 40
are learned; LoRA r = 16 on all linear layers, AdamW, fp32, no replay. Each line is a process of its own.
Memory is the most that it held. The allocator of glibc keeps what is freed below a threshold that it raises
as it goes, up to 32 MiB, and what is kept so lies in pieces: the lines with a threshold set it once and for
all, so that larger blocks go back to the system when they are freed. The weights that come out are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from speed_setting import Setting, print_table, said

from adaptman.learning.chat import Encoded
from adaptman.learning.recipe import Recipe
from adaptman.learning.trainer import train

_LEARNED = 40
_THRESHOLD = 2**20


def trained(base: Path, length: int, steps: int, again: bool) -> dict[str, Any]:
    """Of a training in this process: MiB, seconds of its cores, digest of what it leaves."""
    chance = torch.Generator().manual_seed(0)
    rows = torch.randint(100, 40_000, (2, length), generator=chance).tolist()
    recipe = Recipe.from_dict(
        {
            "steps": steps, "batch_size": 2, "max_length": length, "gradient_checkpointing": again,
            "replay": {"kind": "none"},
        }
    )  # fmt: skip
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        examples = [Encoded(row, length - _LEARNED) for row in rows]
        made = train(base, None, examples, None, recipe, Path(folder))
        weights = (made.adapter / "adapter_model.safetensors").read_bytes()
    return {
        "mib": made.curves["train/peak_memory_mib"][-1][1],
        "cpu_s": time.process_time() - began,
        "weights": hashlib.sha256(weights).hexdigest()[:8],
    }


def apart(folder: Path, length: int, steps: int, again: bool, threshold: int) -> dict[str, Any]:
    """The same in a process of its own."""
    environment = dict(os.environ) | ({"MALLOC_MMAP_THRESHOLD_": str(threshold)} if threshold else {})
    command = [sys.executable, __file__, "--folder", str(folder), "--lengths", str(length)]
    command += ["--steps", str(steps), "--alone", *(["--again"] if again else [])]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--lengths", default="384,1536")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    lengths = [int(length) for length in asked.lengths.split(",")]
    if asked.alone:
        print(json.dumps(trained(asked.folder / "base", lengths[0], asked.steps, asked.again)))
        return
    Setting.made(asked.folder)
    print(said(torch.get_num_threads(), "peft"), "\n")
    lines = []
    for length, again, threshold in product(lengths, (False, True), (0, _THRESHOLD)):
        found = apart(asked.folder, length, asked.steps, again, threshold)
        told = "1 MiB" if threshold else "glibc's own"
        figures = f"{found['mib']:,.0f}", f"{found['cpu_s'] / asked.steps:.1f}", found["weights"]
        lines.append((length, "yes" if again else "no", told, *figures))
    print_table(
        ["tokens", "gradient checkpointing", "threshold", "peak MiB", "CPU s a step", "weights"], lines
    )


if __name__ == "__main__":
    main()
