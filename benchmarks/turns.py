"""Two processes that take turns: what speed benchmarks measure is one step of a side, then one of another.

A side runs alone while it has its turn and waits otherwise, so that whatever else the machine does falls on
all sides alike. This module needs nothing but Python: a side may run in an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# transformers, datasets, TRL and lm-evaluation-harness ask the hub about whatever they are given.
os.environ["HF_HUB_OFFLINE"] = "1"


class Turns:
    """In a side's process: waits for a turn, and tells what it took."""

    def __init__(self) -> None:
        # The libraries print what they like: that goes to stderr.
        self._told, sys.stdout = sys.stdout, sys.stderr
        self._began = (0.0, 0.0)

    def wait(self) -> Any:
        """What this turn is to do; the process ends when there is no further one."""
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        self._began = time.perf_counter(), time.process_time()
        return json.loads(line)

    def done(self, **told: Any) -> None:
        """The turn is over."""
        began, before = self._began
        told |= {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - before,
            "peak_bytes": peak_bytes(),
        }
        print(json.dumps(told), file=self._told, flush=True)


class Side:
    """A side's process, seen from the benchmark."""

    def __init__(self, python: Path, script: str, name: str, request: Any, log: Path) -> None:
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [python, Path(__file__).with_name(script), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._name, self._log = name, log
        self.turns: list[dict[str, Any]] = []
        """What the side told, turn by turn."""
        self._send(request)

    def turn(self, asked: Any = None) -> dict[str, Any]:
        """Let the side have its turn."""
        self._send(asked)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} failed:\n{self._log.read_text(encoding='utf-8')[-3000:]}")
        self.turns.append(json.loads(line))
        return self.turns[-1]

    def end(self) -> None:
        """No further turn."""
        self._process.communicate()

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()


def peak_bytes() -> int:
    """The most memory that this process ever held (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
