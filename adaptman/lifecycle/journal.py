"""What an evaluation has answered so far, on disk, so that one that is killed goes on where it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from adaptman.evaluation.runner import NOTHING_YET, Batch, CaseOutcome


class Journal:
    """The batches of one evaluation: a line each, durable once `append` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Batch:
        """All that was answered. A line that is torn, and what may follow it, is dropped for good."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return NOTHING_YET
        whole, found = 0, NOTHING_YET
        for line in data.splitlines(keepends=True):
            batch = _batch(line)
            if batch is None:
                break
            found = Batch(found.outcomes + batch.outcomes, found.seconds + batch.seconds)
            whole += len(line)
        if whole < len(data):
            os.truncate(self._path, whole)
        return found

    def append(self, batch: Batch) -> None:
        """Keep one more batch."""
        record = {"seconds": batch.seconds, "outcomes": [list(outcome) for outcome in batch.outcomes]}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as stream:
            stream.write(json.dumps(record).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """The result stands on record: nothing is to be gone on with."""
        self._path.unlink(missing_ok=True)


def _of_change(value: Any) -> Any:
    """The rule of a case, and whether its reply is stale."""
    if not isinstance(value, (str, bool)):
        raise ValueError(value)
    return value


def _batch(line: bytes) -> Batch | None:
    """None for a line that `append` did not write whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        outcomes = tuple(
            CaseOutcome(str(case_id), float(score), str(output), str(detail), *map(_of_change, change))
            for case_id, score, output, detail, *change in record["outcomes"]
        )
        return Batch(outcomes, float(record["seconds"]))
    except (ValueError, TypeError, KeyError):
        return None
