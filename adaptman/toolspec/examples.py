"""Training examples: messages, tools and calls in the OpenAI form, each checked against a tool document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from adaptman.errors import ExampleError, ToolDocumentError
from adaptman.toolspec.document import Tool, ToolDocument
from adaptman.toolspec.formats import ToolCall
from adaptman.toolspec.jsontext import check_json, strict_loads
from adaptman.toolspec.readers import document_from_openai
from adaptman.toolspec.validate import validate_call

MAX_BYTES = 256 * 1024 * 1024
_ROLES = ("system", "user", "assistant", "tool")
_KEYS = {"id", "messages", "tools"}
_MESSAGE_KEYS = ("role", "content", "tool_calls", "tool_call_id", "name")


@dataclass(frozen=True)
class Example:
    """A conversation whose last message is to be learned; `tools` are those shown, in the OpenAI form."""

    id: str
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Line:
    """One line of a file, and how to refuse it."""

    origin: str
    number: int

    def refuse(self, path: str, problem: str, hint: str = "") -> NoReturn:
        where = f", `{path}`" if path else ""
        raise ExampleError(f"`{self.origin}`, line {self.number}{where}: {problem}", hint=hint)


def read_examples(data: bytes, origin: str, document: ToolDocument | None) -> tuple[Example, ...]:
    """Read JSONL, one example a line: `id` (optional), `messages`, `tools` (optional).

    Every call must be right under `document`, and every tool shown must stand in it with the same contract.

    Raises:
        ExampleError: names file, line and the path of the field.
    """
    if len(data) > MAX_BYTES:
        raise ExampleError(
            f"`{origin}` has {len(data):,} bytes, the limit is {MAX_BYTES:,}", hint="split the file"
        )
    examples: list[Example] = []
    for found in examine(data, origin, document):
        if isinstance(found.result, ExampleError):
            raise found.result
        examples.append(found.result)
    if not examples:
        raise ExampleError(
            f"`{origin}` holds no examples", hint="one JSON object a line, with `messages` and `tools`"
        )
    return tuple(examples)


class Examined(NamedTuple):
    """A line of a file that is not blank: its number, its bytes, and the example or what is wrong with it."""

    line: int
    raw: bytes
    result: Example | ExampleError


def examine(data: bytes, origin: str, document: ToolDocument | None) -> Iterator[Examined]:
    """Each line of a JSONL file of examples, the wrong ones with their first error."""
    lines: dict[str, int] = {}
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if not raw.strip():
            continue
        line = _Line(origin, number)
        try:
            example = _example(line, _value(line, raw), document)
            if example.id in lines:
                line.refuse("id", f"`{example.id}` stands in line {lines[example.id]} already")
        except ExampleError as error:
            yield Examined(number, raw, error)
            continue
        lines[example.id] = number
        yield Examined(number, raw, example)


def problem_of(error: ExampleError) -> str:
    """What is wrong, without the file and the line, which stand at the head of the message."""
    return error.message.partition(": ")[2] or error.message


def call_of(entry: Any) -> ToolCall:
    """A call from an entry of `tool_calls` in the OpenAI form, its arguments a JSON text or an object.

    Raises:
        ExampleError: the entry is not of that form.
    """
    function = entry.get("function") if isinstance(entry, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ExampleError('a tool call must be `{"function": {"name": …, "arguments": …}}`')
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = strict_loads(arguments)
        except (ValueError, RecursionError) as error:
            raise ExampleError(f"the arguments of `{function['name']}` are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ExampleError(f"the arguments of `{function['name']}` must be an object")
    return ToolCall(function["name"], arguments)


def _value(line: _Line, raw: bytes) -> dict[str, Any]:
    try:
        value = strict_loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line.refuse("", f"not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        line.refuse("", f"not JSON: {error}", hint="one JSON object a line")
    if not isinstance(value, dict):
        line.refuse("", "must be a JSON object")
    try:
        check_json(value, "the example")
    except ToolDocumentError as error:
        line.refuse("", error.message, hint=error.hint)
    return value


def _example(line: _Line, value: dict[str, Any], document: ToolDocument | None) -> Example:
    for key in value:
        if key not in _KEYS:
            line.refuse(key, "no such field", hint=f"the fields are {', '.join(sorted(_KEYS))}")
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        line.refuse("messages", "must be a list of at least one message")
    tools = _tools(line, value.get("tools"), document)
    for index, message in enumerate(messages):
        _check_message(line, f"messages[{index}]", message, tools, document)
    last = messages[-1]
    if last["role"] != "assistant" or not (last.get("content") or last.get("tool_calls")):
        line.refuse(
            f"messages[{len(messages) - 1}]",
            "the last message must be the assistant's, with content or calls",
        )
    name = value.get("id", f"line-{line.number}")
    if not isinstance(name, str) or not name:
        line.refuse("id", "must be a text that is not empty")
    return Example(name, tuple(messages), tuple(tools))


def _tools(line: _Line, shown: Any, document: ToolDocument | None) -> list[dict[str, Any]]:
    if shown is None:
        return []
    if not isinstance(shown, list):
        line.refuse("tools", "must be a list of tools in the OpenAI form")
    for index, tool in enumerate(shown):
        if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
            line.refuse(
                f"tools[{index}]", 'must be a tool in the OpenAI form: `{"type": "function", "function": …}`'
            )
    try:
        read = document_from_openai(shown)
    except ToolDocumentError as error:
        line.refuse("tools", error.message, hint=error.hint)
    for index, tool in enumerate(read.tools if document else ()):
        registered = document.get(tool.name) if document else None
        if registered is None:
            line.refuse(f"tools[{index}]", f"`{tool.name}` does not stand in the tool document")
        if not same_tool(registered, tool):
            line.refuse(
                f"tools[{index}]",
                f"`{tool.name}` is shown with other parameters than the tool document has",
                hint="show the tool as it is registered: `adaptman schema show N` prints it",
            )
    return shown


def same_tool(registered: Tool, shown: Tool) -> bool:
    """Whether a tool is shown as it is registered; hints have no place in the form in which it is shown."""
    hints = {"annotations": None}
    return {**registered.canonical, **hints} == {**shown.canonical, **hints}


def _check_message(
    line: _Line, path: str, message: Any, tools: Sequence[Mapping[str, Any]], document: ToolDocument | None
) -> None:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        line.refuse(path, f"must be an object whose `role` is one of {', '.join(_ROLES)}")
    for key in message:
        if key not in _MESSAGE_KEYS and message[key] is not None:
            line.refuse(f"{path}.{key}", "no such field", hint=f"the fields are {', '.join(_MESSAGE_KEYS)}")
    content, calls = message.get("content"), message.get("tool_calls")
    if not isinstance(content, str) and (content is not None or message["role"] != "assistant"):
        line.refuse(f"{path}.content", "must be a text")
    if calls is None:
        return
    if not isinstance(calls, list) or (calls and message["role"] != "assistant"):
        line.refuse(f"{path}.tool_calls", "must be a list, in a message of the assistant")
    names = {tool["function"].get("name") for tool in tools}
    for index, entry in enumerate(calls):
        _check_call(line, f"{path}.tool_calls[{index}]", entry, names, document)


def _check_call(line: _Line, path: str, entry: Any, shown: set[Any], document: ToolDocument | None) -> None:
    try:
        call = call_of(entry)
    except ExampleError as error:
        line.refuse(path, error.message)
    for problem in validate_call(document, call)[:1] if document else ():
        dot = "" if problem.path.startswith("[") else "."
        field = f"{path}.arguments{dot}{problem.path}" if problem.path else path
        line.refuse(
            field,
            f"the call of `{call.name}` is not right: {problem.message}",
            hint="correct the example, or give the number of the tool document it was made for",
        )
    if call.name not in shown:
        line.refuse(path, f"`{call.name}` is called but not shown in `tools`")
