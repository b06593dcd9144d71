"""What runs out: memory and disk, told as an error with a way out; and how much memory it has been."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError

from adaptman.errors import TrainingError, is_out_of_memory

MORE_MEMORY = "run it where the model fits into memory"
_MIB = 2**20
_PEAK_KIB = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def memory_told(during: str, hint: str) -> Iterator[None]:
    """Turn what is raised when memory runs out into a TrainingError.

    Raises:
        TrainingError: memory ran out `during` something.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"out of memory {during}", hint=hint) from error


def peak_memory_mib(device: torch.device) -> float:
    """The most memory so far, in MiB: of a CUDA device what torch has had at one time, else of the process
    what was resident, also before this was computed."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    with suppress(OSError):
        # Linux: what `getrusage` says begins with the peak of whoever started the process.
        found = _PEAK_KIB.search(Path("/proc/self/status").read_text(encoding="utf-8"))
        if found is not None:
            return int(found[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / _MIB if sys.platform == "darwin" else most / 1024  # in bytes there, in KiB elsewhere


@contextmanager
def disk_told(path: Path) -> Iterator[None]:
    """Turn what safetensors raises when it cannot write below `path` into the system's own error.

    Raises:
        OSError: the disk is full, or whatever else the system said.
    """
    try:
        yield
    except SafetensorError as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        code = int(found[1])
        raise OSError(code, os.strerror(code), str(path)) from error
