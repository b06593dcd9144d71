"""What a model reads, kept and compared: a conversation under all tools of a document, as text and tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple

from adaptman import __version__
from adaptman.errors import ArtifactError, ModelError
from adaptman.learning.chat import ChatRenderer
from adaptman.toolspec.jsontext import sha256_of

Message = Mapping[str, Any]

_SYSTEM = {"role": "system", "content": "You are an assistant. Be brief."}
_ASK = {"role": "user", "content": "Please look it up – “naïve café”, 你好, 🙂 – and say 3 × 4.5 = ?"}
# One of each kind of JSON value; no tool has to accept them, only the way of writing matters.
_ARGUMENTS = {"text": 'a "b" <c>\nö 你 🙂', "number": 12.5, "flags": [True, False, None], "nested": {"n": -1}}
_REPLY = {"role": "assistant", "content": "It is 13.5, as “naïve café” says.\n\n- 你好 🙂"}

_BEFORE, _AFTER = 16, 40
"""Characters of an excerpt before and after the place where two texts part."""
_IDS = 4


class Difference(NamedTuple):
    """Where two renderings part first, with an excerpt of each; `at` counts characters or tokens from 0."""

    part: str
    """`text`, `learned` (the same text, of which another part is learned), `tokens`, or `refused`."""
    at: int
    then: str
    now: str


@dataclass(frozen=True)
class Rendering:
    """A conversation as a model reads it; of text and tokens, the answer at the end is what is learned."""

    messages: tuple[Message, ...]
    prompt: str
    answer: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    @property
    def text(self) -> str:
        """Everything that is read, from the first character to the last."""
        return self.prompt + self.answer

    @property
    def ids(self) -> tuple[int, ...]:
        """`text` as token ids."""
        return self.prompt_ids + self.answer_ids

    @cached_property
    def digest(self) -> str:
        """Render digest: sha256 (hex) of `to_json`. Equal digests: a model reads the same."""
        return sha256_of(self.to_json())

    def to_json(self) -> str:
        """The rendering as one line of JSON; the arguments of calls keep the order of their keys."""
        told = {
            "messages": self.messages,
            "prompt": self.prompt,
            "answer": self.answer,
            "prompt_ids": self.prompt_ids,
            "answer_ids": self.answer_ids,
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: bytes) -> Rendering:
        """What `to_json` wrote.

        Raises:
            ArtifactError: the bytes are no rendering.
        """
        try:
            told = json.loads(data)
            return cls(
                tuple(told["messages"]),
                str(told["prompt"]),
                str(told["answer"]),
                tuple(told["prompt_ids"]),
                tuple(told["answer_ids"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError("an object that should be a rendering is none") from error


def render(
    renderer: ChatRenderer, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
) -> Rendering:
    """A conversation that ends with the assistant's message, just as training renders it.

    Raises:
        ExampleError: the last message is not the assistant's.
        ModelError: the chat template refuses the conversation, or rewrites what stands before the answer.
    """
    said = renderer.answered_text(messages, tools)
    ids, asked = renderer.encoded(said)
    return Rendering(tuple(messages), said.prompt, said.answer, tuple(ids[:asked]), tuple(ids[asked:]))


def probe(renderer: ChatRenderer, tools: Sequence[Mapping[str, Any]]) -> Rendering:
    """The fullest probe conversation that the chat template takes, under `tools` in the OpenAI form.

    Raises:
        ModelError: the template refuses even a question and an answer.
    """
    *fuller, plainest = _conversations(tools)
    for messages in fuller:
        try:
            return render(renderer, messages, tools)
        except ModelError:  # a template without system messages, or without a role for results
            continue
    return render(renderer, plainest, tools)


def _conversations(tools: Sequence[Mapping[str, Any]]) -> list[list[Message]]:
    """The probe with everything in it, then with less and less."""
    # Two calls where there are two tools: what stands between calls is a matter of the format, too.
    calls = [
        {"id": f"call-{at}", "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
        for at, name in enumerate(str(tool["function"]["name"]) for tool in tools[:2])
    ]
    if not calls:
        return [[_SYSTEM, _ASK, _REPLY], [_ASK, _REPLY]]
    called = {"role": "assistant", "content": None, "tool_calls": calls}
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": '{"found": "13.5 – 你好"}'} for call in calls
    ]
    return [
        [_SYSTEM, _ASK, called, *results, _REPLY],
        [_ASK, called, *results, _REPLY],
        [_SYSTEM, _ASK, called],
        [_ASK, called],
    ]


def first_difference(then: Rendering, now: Rendering) -> Difference | None:
    """Where `now` parts from `then`; None where a model reads the same in both."""
    if then.text != now.text:
        at = _first(then.text, now.text)
        return Difference("text", at, _excerpt(then.text, at), _excerpt(now.text, at))
    if len(then.prompt) != len(now.prompt):
        at = min(len(then.prompt), len(now.prompt))
        return Difference("learned", at, _excerpt(then.answer, 0), _excerpt(now.answer, 0))
    if then.ids != now.ids or len(then.prompt_ids) != len(now.prompt_ids):
        at = _first(then.ids, now.ids)
        return Difference("tokens", at, _few(then.ids[at:]), _few(now.ids[at:]))
    return None


def _excerpt(text: str, at: int) -> str:
    """Some characters around `at`, line breaks and quotes written as in JSON."""
    shown = json.dumps(text[max(0, at - _BEFORE) : at + _AFTER], ensure_ascii=False)[1:-1]
    return f"{'…' if at > _BEFORE else ''}{shown}{'…' if at + _AFTER < len(text) else ''}"


def _first(then: Sequence[object], now: Sequence[object]) -> int:
    """The first place where they are not the same."""
    parted = (at for at, (one, other) in enumerate(zip(then, now, strict=False)) if one != other)
    return next(parted, min(len(then), len(now)))


def _few(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids[:_IDS])) + (" …" if len(ids) > _IDS else "")


def libraries() -> dict[str, str]:
    """The versions of everything that has a part in a rendering, beside the files of the base."""
    names = ("jinja2", "tokenizers", "transformers")
    return {"adaptman": __version__} | {name: version(name) for name in names}
