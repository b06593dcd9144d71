"""Conversations out of logs: OpenAI's requests with their responses, and exported MLflow traces.

A log is JSONL, a JSON list or one JSON object. Nothing is guessed: what is no whole conversation is told.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from adaptman.errors import ExampleError
from adaptman.toolspec.document import ToolDocument
from adaptman.toolspec.examples import Example, examine, problem_of
from adaptman.toolspec.jsontext import canonical_json, strict_loads

_KEPT = ("role", "content", "tool_calls", "tool_call_id", "name")
_ROLES = {"developer": "system", "function": "tool"}


class LogProblem(NamedTuple):
    """A record that became no example; `record` counts from 1 (lines of JSONL, entries of a list)."""

    record: int
    reason: str


class ImportedLog(NamedTuple):
    """Examples as JSON objects, what was left out and why, and how many were there already."""

    examples: tuple[dict[str, Any], ...]
    problems: tuple[LogProblem, ...]
    repeated: int


def read_log(data: bytes, origin: str, document: ToolDocument | None = None) -> ImportedLog:
    """The conversations of a log, each once; with `document` only those that are right under it.

    Raises:
        ExampleError: the file is not JSON at all.
    """
    examples: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    problems: list[LogProblem] = []
    repeated = 0
    for number, record in _records(data, origin):
        try:
            found = list(_conversations(record))
            if not found:
                raise ExampleError("no conversation in it")
            for value in found:
                key = canonical_json([value["messages"], value.get("tools")])
                if key in examples:
                    repeated += 1
                    continue
                value = {**value, "id": _unique(value["id"] or f"record-{number}", taken)}
                _check(value, document)
                examples[key] = value
                taken.add(value["id"])
        except ExampleError as error:
            problems.append(LogProblem(number, error.message))
    return ImportedLog(tuple(examples.values()), tuple(problems), repeated)


def _unique(name: Any, taken: Collection[str]) -> str:
    text, count = str(name), 2
    while text in taken:
        text, count = f"{name}-{count}", count + 1
    return text


def _records(data: bytes, origin: str) -> Iterator[tuple[int, Any]]:
    text = data.decode("utf-8", errors="replace").strip()
    try:
        whole = strict_loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list):
        yield from enumerate(whole, start=1)
    elif isinstance(whole, dict):
        yield 1, whole
    elif "\n" not in text:
        raise ExampleError(f"`{origin}` is no JSON", hint="a log is JSONL, a JSON list or a JSON object")
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _Unread(line)


class _Unread(str):
    """A line that is to be parsed."""


def _conversations(record: Any) -> Iterator[dict[str, Any]]:
    if isinstance(record, _Unread):
        try:
            record = strict_loads(record)
        except (ValueError, RecursionError) as error:
            raise ExampleError(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ExampleError("not a JSON object")
    spans = (
        record.get("data", {}).get("spans") if isinstance(record.get("data"), dict) else record.get("spans")
    )
    if isinstance(spans, list):
        yield from _of_trace(record, spans)
        return
    request = _body(record.get("request")) or _body(record.get("input")) or record
    response = _body(record.get("response")) or _body(record.get("output")) or record
    name = record.get("custom_id") or record.get("id") or response.get("id")
    yield _conversation(name, request, response)


def _body(value: Any) -> dict[str, Any] | None:
    """A request or a response, perhaps in the envelope of the batch API, perhaps as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    inner = value.get("body")
    return _body(inner) if isinstance(inner, (dict, str)) else value


def _of_trace(record: Mapping[str, Any], spans: list[Any]) -> Iterator[dict[str, Any]]:
    """One conversation for each span in which a model was asked."""
    info = record.get("info")
    trace = info.get("trace_id") or info.get("request_id") if isinstance(info, dict) else None
    for number, span in enumerate(spans, start=1):
        attributes = span.get("attributes") if isinstance(span, dict) else None
        if not isinstance(attributes, dict):
            continue
        told = {key: _decoded(value) for key, value in attributes.items()}
        inputs, outputs = _body(told.get("mlflow.spanInputs")), _body(told.get("mlflow.spanOutputs"))
        if inputs is None or outputs is None or not isinstance(inputs.get("messages"), list):
            continue
        shown = told.get("mlflow.chat.tools") or inputs.get("tools")
        yield _conversation(f"{trace or 'trace'}-{number}", {**inputs, "tools": shown}, outputs)


def _decoded(value: Any) -> Any:
    """Attributes of a span are JSON texts."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _conversation(name: Any, request: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ExampleError("no `messages` in it")
    kept = [_message(message) for message in messages]
    choices = response.get("choices")
    if isinstance(choices, list) and choices:
        answer = choices[0].get("message") if isinstance(choices[0], dict) else None
        kept.append(_message(answer))
    elif response is not request and response.get("role") == "assistant":
        kept.append(_message(response))
    if kept[-1]["role"] != "assistant":
        raise ExampleError("half a conversation: the assistant's answer is missing")
    tools = request.get("tools") or request.get("functions") or []
    if not isinstance(tools, list):
        raise ExampleError("its `tools` are not a list")
    shown = {"tools": [_tool(tool) for tool in tools]} if tools else {}
    return {"id": name, "messages": kept, **shown}


def _tool(tool: Any) -> Any:
    """A tool in the OpenAI form, also where a log has the older `functions`."""
    if isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str):
        return {"type": "function", "function": {key: one for key, one in tool.items() if key != "type"}}
    return tool


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise ExampleError("a message without a role")
    kept = {key: message[key] for key in _KEPT if message.get(key) is not None}
    kept["role"] = _ROLES.get(message["role"], message["role"])
    if isinstance(kept.get("content"), list):
        kept["content"] = _text(kept["content"])
    if isinstance(message.get("function_call"), dict):  # as calls were before `tool_calls`
        kept["tool_calls"] = [{"type": "function", "function": message["function_call"]}]
    if "tool_calls" in kept:
        kept["tool_calls"] = [_call(entry) for entry in kept["tool_calls"] or ()]
        if not kept["tool_calls"]:
            del kept["tool_calls"]
    return kept


def _call(entry: Any) -> Any:
    function = entry.get("function") if isinstance(entry, dict) else None
    if not isinstance(function, dict):
        raise ExampleError("a call without a function")
    told = {key: function[key] for key in ("name", "arguments") if key in function}
    return {**{key: entry[key] for key in ("id",) if key in entry}, "type": "function", "function": told}


def _text(parts: list[Any]) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise ExampleError("a message with something else than text in it")
    return "".join(map(str, texts))


def _check(value: Mapping[str, Any], document: ToolDocument | None) -> None:
    """The example must be one that training reads."""
    if any(message.get("tool_calls") for message in value["messages"]) and not value.get("tools"):
        raise ExampleError("calls, but no tools shown")
    (found,) = examine(json.dumps(value).encode(), "log", document)
    if not isinstance(found.result, Example):
        raise ExampleError(problem_of(found.result))
