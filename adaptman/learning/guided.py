"""Decoding under a grammar: of the tokens that the grammar lets follow, the most likely one.

The grammars are those of `OutputFormat.grammar`; llguidance says which tokens they let follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from adaptman.errors import ModelError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from adaptman.learning.models import LoadedModel


def check_installed() -> None:
    """Refuse early where decoding under a grammar is not installed.

    Raises:
        ModelError: llguidance is missing.
    """
    try:
        import llguidance  # noqa: F401
    except ImportError:
        raise ModelError(
            "decoding under a grammar needs the package `llguidance`",
            hint="install it with `pip install 'adaptman[diagnose]'`",
        ) from None


def matchers(loaded: LoadedModel, grammars: Sequence[str | None]) -> list[LLMatcher | None]:
    """What follows each grammar's texts; None for a grammar that is none, or that the engine cannot read.

    Raises:
        ModelError: the tokenizer is not one of the `tokenizers` library.
    """
    from llguidance import LLMatcher

    tokenizer = _tokenizer(loaded)
    made = [None if text is None else LLMatcher(tokenizer, text, log_level=0) for text in grammars]
    return [None if one is None or one.is_error() else one for one in made]


class Guide:
    """Where in its grammar each row is."""

    def __init__(self, rows: Sequence[LLMatcher]) -> None:
        self._matchers = rows

    def narrow(self, rows: Sequence[int], logits_BV: Tensor) -> Tensor:
        """The logits [B, V] of `rows`, those of tokens that may not follow lowered to minus infinity."""
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        size = logits_BV.shape[1]
        mask = allocate_token_bitmask(len(rows), size)
        for at, row in enumerate(rows):
            fill_next_token_bitmask(self._matchers[row], mask, at)
        bits = np.unpackbits(mask.view(np.uint8), axis=1, bitorder="little", count=size)
        allowed = torch.from_numpy(bits).to(logits_BV.device).bool()
        return logits_BV.masked_fill(~allowed, float("-inf"))

    def take(self, row: int, token: int) -> None:
        """`token` is what follows in `row`."""
        self._matchers[row].consume_token(token)

    def has_ended(self, row: int) -> bool:
        """Whether what was taken is a whole text of the row's grammar."""
        matcher = self._matchers[row]
        return not matcher.is_error() and (matcher.is_accepting() or matcher.is_stopped())


def _tokenizer(loaded: LoadedModel) -> LLTokenizer:
    from llguidance.hf import from_tokenizer
    from transformers import PreTrainedTokenizerFast

    if not isinstance(loaded.tokenizer, PreTrainedTokenizerFast):
        raise ModelError(
            "decoding under a grammar needs a tokenizer of the `tokenizers` library",
            hint="use a checkpoint with a `tokenizer.json`",
        )
    if not loaded.stop_ids:
        raise ModelError(
            "decoding under a grammar needs a token that ends a reply, and the checkpoint names none",
            hint="name it in the checkpoint's `generation_config.json`, as `eos_token_id`",
        )
    size = max(len(loaded.tokenizer), loaded.model.get_output_embeddings().weight.shape[0])
    return from_tokenizer(loaded.tokenizer, n_vocab=size, eos_token=list(loaded.stop_ids))
