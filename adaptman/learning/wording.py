"""How a user begins to ask for what a tool does, made of the tool's description alone; in English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from adaptman.toolspec.document import first_sentence

# How a user asks for what a tool does, and for what it finds. What is held by requests that read like a
# description is held for such requests alone.
_DO = ("Can you", "I need to", "Please", "Could you", "I want to", "Help me", "How do I")
_TELL = ("What is", "Tell me", "Which is", "How much is", "I want to know")
_QUESTIONS = ("Can", "Could", "How", "What", "Which")
_ARTICLES = ("the ", "a ", "an ")
_OF_ITSELF = re.compile(r"^(?:This|The) (?:function|tool|method|API) (?:(?:is|can be) used to )?")
# `Retrieves`, `Fetches`; not `Process`, `Status`, `Analysis`, `Alias`.
_THIRD_PERSON = re.compile(r"[A-Za-z][a-z]+[b-hj-rtv-z]s")
_ENDINGS = {"ies": "y", "sses": "ss", "shes": "sh", "ches": "ch", "xes": "x", "oes": "o", "s": ""}


def purpose(tool: Mapping[str, Any]) -> str:
    """What a tool does, by the first sentence of its description; empty without one."""
    description = str(tool.get("function", tool).get("description") or "")
    return _OF_ITSELF.sub("", first_sentence(description), count=1)


def asked_for(tool: Mapping[str, Any], at: int, *, tells: bool = False) -> str:
    """How a user begins to ask for what a tool does, in words number `at`; empty where it does not say.

    `tells`: for what it finds, where its description is a word and then a thing: `Find the area of …`.
    """
    wanted = _as_told(purpose(tool))
    thing = wanted.partition(" ")[2]
    if tells and thing.startswith(_ARTICLES):
        return f"{_TELL[at % len(_TELL)]} {thing}"
    # `HTTP request …` stays as it is.
    if wanted[1:2].islower():
        wanted = wanted[0].lower() + wanted[1:]
    return f"{_DO[at % len(_DO)]} {wanted}" if wanted else ""


def ended(request: str) -> str:
    """A request with the mark that ends it."""
    return f"{request}{'?' if request.startswith(_QUESTIONS) else '.'}"


def _as_told(does: str) -> str:
    """`Retrieves the weather` → `Retrieve the weather`."""
    verb, space, thing = does.partition(" ")
    if not space or not _THIRD_PERSON.fullmatch(verb):
        return does
    ending = next(one for one in _ENDINGS if verb.endswith(one))
    return f"{verb.removesuffix(ending)}{_ENDINGS[ending]} {thing}"
