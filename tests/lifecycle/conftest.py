"""Workspaces for the tests of the use cases: each is told once and copied for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.story import Story, templates
from tests.lifecycle.tiny_line import TinyLine, tiny_lines


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Story]:
    """A workspace with nothing but a base model."""
    story = Story.copy(templates().begun, tmp_path)
    yield story
    story.workspace.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Story]:
    """A workspace with four versions, a refusal, a waiver and a rollback."""
    story = Story.copy(templates().told, tmp_path)
    yield story
    story.workspace.close()


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[TinyLine]:
    """A tiny model with a tool document, examples and two suites."""
    line = TinyLine.copy(tiny_lines().filled, tmp_path / "line")
    yield line
    line.workspace.close()


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[TinyLine]:
    """The same after its first update, which made version 2."""
    line = TinyLine.copy(tiny_lines().updated, tmp_path / "line")
    yield line
    line.workspace.close()
