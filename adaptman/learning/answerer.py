"""The model as a suite sees it: answers to conversations, and the likelihood of given answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from adaptman.learning.chat import ChatRenderer
from adaptman.learning.decoding import DecodeSettings, Row, decode
from adaptman.learning.likelihood import nll_of
from adaptman.learning.models import LoadedModel


class Turns(Protocol):
    """A conversation: messages in the OpenAI form and the tools shown."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def tools(self) -> Sequence[Mapping[str, Any]]: ...


class Nll(NamedTuple):
    """Negative log-likelihood of an answer: its sum in nats and its tokens."""

    total: float
    tokens: int


class ModelAnswerer:
    """Answers greedily with one loaded model in one output format, so many conversations at a time."""

    def __init__(self, loaded: LoadedModel, renderer: ChatRenderer, *, batch_size: int = 128) -> None:
        self._loaded, self._renderer, self._batch_size = loaded, renderer, batch_size

    def answer(
        self,
        conversations: Sequence[Turns],
        *,
        max_new_tokens: int,
        on_done: Callable[[int], None] = lambda rows: None,
    ) -> list[str]:
        """The assistant's next message to each conversation, as `ChatRenderer.reply_text` has it."""
        rows = [
            Row(self._renderer.prompt_ids(turns.messages, turns.tools), (max_new_tokens,))
            for turns in conversations
        ]
        written = decode(
            self._loaded.model,
            rows,
            DecodeSettings(self._loaded.stop_ids, batch_size=self._batch_size),
            on_done=lambda ended: on_done(len(ended)),
        )
        return [self._renderer.reply_text(answer.ids) for (answer,) in written]

    def answer_guided(
        self,
        conversations: Sequence[Turns],
        counts: Sequence[int],
        *,
        max_new_tokens: int,
        on_done: Callable[[int], None] = lambda rows: None,
    ) -> list[str | None]:
        """The likeliest `counts` calls of the tools shown, token by token, as the output format writes them.

        None where format or schemas have no grammar, or the calls were not complete after `max_new_tokens`.

        Raises:
            ModelError: llguidance is not installed.
        """
        from adaptman.learning.guided import Guide, check_installed, matchers

        check_installed()
        asked = list(zip(conversations, counts, strict=True))
        grammars = [self._renderer.grammar(turns.tools, count) for turns, count in asked]
        found = {at: one for at, one in enumerate(matchers(self._loaded, grammars)) if one is not None}
        on_done(len(conversations) - len(found))
        guide, fit = Guide(list(found.values())), [conversations[at] for at in found]
        written = decode(
            self._loaded.model,
            [Row(self._renderer.prompt_ids(turns.messages, turns.tools), (max_new_tokens,)) for turns in fit],
            DecodeSettings(self._loaded.stop_ids, batch_size=self._batch_size),
            guide=guide,
            on_done=lambda ended: on_done(len(ended)),
        )
        replies: list[str | None] = [None] * len(conversations)
        for row, (at, (answer,)) in enumerate(zip(found, written, strict=True)):
            replies[at] = self._renderer.reply_text(answer.ids) if guide.has_ended(row) else None
        return replies

    def nll(
        self, conversations: Sequence[Turns], *, on_done: Callable[[int], None] = lambda rows: None
    ) -> list[Nll]:
        """The likelihood of each conversation's last message, which is the assistant's."""
        encoded = [self._renderer.answered(turns.messages, turns.tools) for turns in conversations]
        # Packed: the choices of a question, and questions under the same tools, begin alike.
        positions = [torch.arange(item.prompt_length, len(item.ids)) for item in encoded]
        found = nll_of(self._loaded, [item.ids for item in encoded], positions, on_done=on_done)
        return [Nll(float(one.sum()), len(one)) for one in found]
