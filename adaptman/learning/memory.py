"""Memory that runs out, told as an error with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adaptman.errors import TrainingError

# What torch says: its CUDA allocator, its CPU allocator on Linux, and the latter on other systems.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def memory_told(during: str, hint: str) -> Iterator[None]:
    """Turn what is raised when memory runs out into a TrainingError.

    Raises:
        TrainingError: memory ran out `during` something.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise TrainingError(f"out of memory {during}", hint=hint) from error
