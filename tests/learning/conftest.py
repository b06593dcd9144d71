"""One tiny checkpoint for the session, converted as a base model is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adaptman.learning import models
from adaptman.learning.chat import ChatRenderer
from adaptman.learning.models import LoadedModel
from adaptman.toolspec.formats import output_format
from tests.learning.callers import AnyText
from tests.learning.tiny import make_tiny_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint; no test writes to it."""
    directory = tmp_path_factory.mktemp("tiny")
    make_tiny_checkpoint(directory)
    return directory


@pytest.fixture(scope="session")
def loaded(base: Path) -> LoadedModel:
    return models.load(base)


@pytest.fixture(scope="session")
def renderer(loaded: LoadedModel) -> ChatRenderer:
    return ChatRenderer(loaded.tokenizer, output_format("hermes"))


@pytest.fixture(scope="session")
def before(renderer: ChatRenderer) -> ChatRenderer:
    """Writes as the model does until the format changes."""
    return replace(renderer, output_format=AnyText())
