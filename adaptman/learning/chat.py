"""Conversations as tokens: the model's chat template, the tools shown, the calls in the output format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import ExampleError, ModelError
from adaptman.learning.models import special_ids
from adaptman.toolspec.examples import call_of
from adaptman.toolspec.formats import OutputFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Answered(NamedTuple):
    """A conversation's text up to the assistant's last message, and that message with its end."""

    prompt: str
    answer: str


class Encoded(NamedTuple):
    """Token ids of a text and how many of the first are its prompt, which carries no loss."""

    ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class ChatRenderer:
    """Writes conversations as the model reads them: one tokenizer with one output format."""

    tokenizer: PreTrainedTokenizerBase
    output_format: OutputFormat

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
        """The text up to where the assistant's answer begins."""
        return self._template(self._written(messages, tools), add_generation_prompt=True)

    def prompt_ids(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[int]:
        """`prompt` as token ids."""
        return self._ids(self.prompt(messages, tools))

    def answered_text(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> Answered:
        """The text of a conversation whose last message is the assistant's, which alone is learned.

        Raises:
            ExampleError: the last message is not the assistant's.
            ModelError: the chat template rewrites what stands before the answer.
        """
        if not messages or messages[-1].get("role") != "assistant":
            raise ExampleError("the last message must be the assistant's")
        written = self._written(messages, tools)
        prompt = self._template(written[:-1], add_generation_prompt=True)
        whole = self._template(written, add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise ModelError(
                "the chat template does not keep the text before the assistant's answer as it is",
                hint="use a checkpoint whose template appends the answer to the generation prompt",
            )
        return Answered(prompt, whole[len(prompt) :].rstrip("\n"))

    def answered(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Encoded:
        """`answered_text` as token ids.

        Raises:
            ExampleError: the last message is not the assistant's.
            ModelError: the chat template rewrites what stands before the answer.
        """
        return self.encoded(self.answered_text(messages, tools))

    def encoded(self, said: Answered) -> Encoded:
        """The token ids of both texts, each cut by itself: an answer is generated after its prompt."""
        prompt_ids = self._ids(said.prompt)
        return Encoded(prompt_ids + self._ids(said.answer), len(prompt_ids))

    def grammar(self, tools: Sequence[Mapping[str, Any]], count: int) -> str | None:
        """The replies of `count` calls of `tools`, as `OutputFormat.grammar` has it for this tokenizer."""
        special = {
            token.content: one
            for one, token in self.tokenizer.added_tokens_decoder.items()
            if token.special and token.content in self.output_format.markers
        }
        return self.output_format.grammar(tools, count, special)

    def reply_text(self, ids: Sequence[int]) -> str:
        """What a model wrote, without special tokens but for those that the output format writes."""
        return str(self.tokenizer.decode([one for one in ids if one not in self._silent]))

    def message(self, reply: str) -> dict[str, Any]:
        """A reply as a message: what it says in words, and its calls, which another format can write."""
        parsed = self.output_format.parse(reply)
        calls = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in parsed.calls
        ]
        return {"role": "assistant", "content": parsed.content} | ({"tool_calls": calls} if calls else {})

    @cached_property
    def _silent(self) -> frozenset[int]:
        added = self.tokenizer.added_tokens_decoder.items()
        spoken = {one for one, token in added if token.content in self.output_format.markers}
        return frozenset(special_ids(self.tokenizer) - spoken)

    def _written(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, str]]:
        """Messages with calls and tools written out in the output format: any chat template renders them."""
        written = [{"role": str(message["role"]), "content": self._content(message)} for message in messages]
        if not tools:
            return written
        shown = self.output_format.system_prompt(tools)
        if written and written[0]["role"] == "system":
            written[0]["content"] = f"{written[0]['content']}\n\n{shown}"
            return written
        return [{"role": "system", "content": shown}, *written]

    def _content(self, message: Mapping[str, Any]) -> str:
        content = message.get("content") or ""
        calls = message.get("tool_calls") or ()
        if not calls:
            return str(content)
        rendered = self.output_format.render([call_of(call) for call in calls])
        return f"{content}\n{rendered}" if content else rendered

    def _template(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # a template is a program of its author's: it may raise anything
            raise ModelError(f"the model's chat template refuses the conversation: {error}") from error
        return str(text)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
