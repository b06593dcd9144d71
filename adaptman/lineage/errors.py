"""Why MLflow was not told."""

from __future__ import annotations

from adaptman.errors import LineageError


class StoreDownError(LineageError):
    """The MLflow store answers nothing at all; what comes next would fail alike."""


class ForeignLineError(LineageError):
    """The name is in use in MLflow by another registry."""
