"""Examples re-written line by line, and conversations taken out of logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adaptman.errors import ExampleError
from adaptman.toolspec.diff import diff
from adaptman.toolspec.examples import read_examples
from adaptman.toolspec.logs import read_log
from adaptman.toolspec.migration import CallMigration, Mappings
from adaptman.toolspec.rewriting import Rewriting, rewrite
from tests.lifecycle.tiny_line import example, lines
from tests.toolspec.documents import closed, document, function

TEXT = {"type": "string"}
GCD = closed({"a": {"type": "integer"}, "b": {"type": "integer"}}, "a", "b")
OLD = [
    function("math.gcd", GCD, "Greatest common divisor of two numbers"),
    function("news", closed({"topic": TEXT})),
    function("weather", closed({"city": TEXT, "unit": {"enum": ["C", "F"]}}, "city")),
    function("gone", closed({"x": TEXT}), "Sings a song"),
]
NEW = [
    function("arithmetic.gcd", GCD, "Greatest common divisor of two numbers"),
    function("news", closed({"topic": TEXT})),
    function("weather", closed({"city": TEXT, "unit": {"enum": ["C"]}}, "city", "unit")),
]


def run(*examples: dict[str, Any], mappings: Mappings | None = None) -> Rewriting:
    return run_text(lines(examples), mappings)


def run_text(text: str, mappings: Mappings | None = None) -> Rewriting:
    old, new = document(*OLD), document(*NEW)
    return rewrite(text.encode(), "e.jsonl", CallMigration(diff(old, new), new, mappings), new)


def test_each_line_is_re_written_left_or_told() -> None:
    done = run(
        example("a", OLD[:1], "math.gcd", {"a": 4, "b": 6}, "GCD of 4 and 6?"),
        example("b", OLD[1:2], "news", {"topic": "x"}, "News of x?"),
        example("c", OLD[2:3], "weather", {"city": "Oslo", "unit": "F"}, "Oslo in F?"),
        example("d", OLD[3:], "gone", {"x": "y"}, "Sing."),
    )
    assert [(one.line, one.data is not None, one.changed) for one in done.lines] == [
        (1, True, True),
        (2, True, False),
        (3, False, False),
        (4, False, False),
    ]
    assert done.steps == {"tool-renamed": 1}
    assert [one.needs for one in done.needs] == [
        '`weather`: `unit` "F" is not one of ["C"]',
        "`gone`: the tool is gone",
    ]
    assert done.needs[0].hint == "--map weather.unit:OLD=NEW"
    first, second = read_examples(done.data, "new.jsonl", document(*NEW))
    assert first.messages[-1]["tool_calls"][0]["function"]["name"] == "arithmetic.gcd"
    assert first.tools == (NEW[0],)
    assert second.id == "b"
    assert [json.loads(line)["id"] for line in done.rest.splitlines()] == ["c", "d"]


def test_what_does_not_change_stays_to_the_byte() -> None:
    text = '{"messages":[ {"role":"user","content":"é"},{"content":"hi","role":"assistant"}] , "id":"x"}'
    done = run_text(text + "\n\n")
    assert done.data == text.encode() + b"\n"


def test_the_form_of_arguments_and_the_order_of_keys_stay() -> None:
    one = example("a", OLD[:1], "math.gcd", {"b": 6, "a": 4}, "GCD?")
    two = {**one, "id": "b"}
    two["messages"] = [one["messages"][0], json.loads(json.dumps(one["messages"][1]))]
    two["messages"][1]["tool_calls"][0]["function"]["arguments"] = {"b": 6, "a": 4}
    done = run(one, two)
    text, plain = (
        json.loads(line)["messages"][1]["tool_calls"][0]["function"] for line in done.data.splitlines()
    )
    assert text["arguments"] == '{"b": 6, "a": 4}'
    assert list(plain["arguments"]) == ["b", "a"]


def test_earlier_turns_and_results_are_carried_too() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "math.gcd", "arguments": '{"a": 4, "b": 6}'}}
    value = {
        "messages": [
            {"role": "user", "content": "GCD of 4 and 6?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "2", "name": "math.gcd", "tool_call_id": "1"},
            {"role": "assistant", "content": "It is 2."},
        ],
        "tools": OLD[:1],
    }
    (line,) = run(value).data.splitlines()
    messages = json.loads(line)["messages"]
    assert messages[1]["tool_calls"][0]["function"]["name"] == "arithmetic.gcd"
    assert messages[2]["name"] == "arithmetic.gcd"


def test_tools_that_are_gone_are_not_shown_any_more() -> None:
    (line,) = run(example("b", [*OLD[1:2], OLD[3]], "news", {"topic": "x"}, "News?")).data.splitlines()
    assert [tool["function"]["name"] for tool in json.loads(line)["tools"]] == ["news"]


def test_a_default_that_is_assumed_is_counted() -> None:
    old = document(function("draw", closed({"side": {"type": "integer"}})))
    schema = closed({"side": {"type": "integer"}, "colour": {**TEXT, "default": "red"}}, "colour")
    new = document(function("draw", schema))
    text = lines([example("a", [old.as_openai()[0]], "draw", {"side": 2}, "Draw.")])
    done = rewrite(text.encode(), "e", CallMigration(diff(old, new), new), new)
    assert done.assumed == {"draw.colour": 1}


def test_a_line_that_is_no_example_needs_somebody() -> None:
    done = run_text('{"messages": []}\nnonsense\n')
    assert [one.line for one in done.needs] == [1, 2]
    assert "not JSON" in done.needs[1].needs


def test_twice_is_once() -> None:
    done = run(example("a", OLD[:1], "math.gcd", {"a": 4, "b": 6}, "GCD?"))
    new = document(*NEW)
    again = rewrite(done.data, "e", CallMigration(diff(new, new), new), new)
    assert again.data == done.data


# logs

ASK = {"role": "user", "content": "News of x?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "news", "arguments": '{"topic": "x"}'}}
ANSWER = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []}
REQUEST = {"model": "m", "messages": [ASK], "tools": OLD[1:2], "temperature": 1}
RESPONSE = {"id": "r1", "choices": [{"index": 0, "message": ANSWER, "finish_reason": "tool_calls"}]}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [ASK, ANSWER], "tools": OLD[1:2]},
        {"request": REQUEST, "response": RESPONSE},
        {"custom_id": "q7", "request": {"body": REQUEST}, "response": {"status_code": 200, "body": RESPONSE}},
        {"input": json.dumps(REQUEST), "output": json.dumps(RESPONSE)},
        {**REQUEST, **RESPONSE},
        {"messages": [ASK, ANSWER], "functions": [OLD[1]["function"]]},
        {
            "messages": [{**ASK, "content": [{"type": "text", "text": "News of x?"}]}, ANSWER],
            "tools": OLD[1:2],
        },
        {
            "messages": [ASK, {"role": "assistant", "function_call": CALL["function"]}],
            "functions": [OLD[1]["function"]],
        },
    ],
)
def test_every_form_of_a_log_gives_the_same_example(record: dict[str, Any]) -> None:
    found = read_log(json.dumps(record).encode(), "log", document(*OLD))
    assert found.problems == ()
    (one,) = found.examples
    (read,) = read_examples(json.dumps(one).encode(), "e", document(*OLD))
    assert read.messages[0] == ASK
    assert read.messages[-1]["tool_calls"][0]["function"] == CALL["function"]
    assert read.tools[0]["function"] == OLD[1]["function"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [ASK], "tools": OLD[1:2]}, "half a conversation"),
        ({"messages": [ASK, ANSWER]}, "calls, but no tools shown"),
        ({"messages": [ASK, ANSWER], "tools": OLD[2:3]}, "`news` is called but not shown"),
        ({"messages": []}, "no `messages`"),
        ({"hello": 1}, "no `messages`"),
        ([1], "not a JSON object"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]}, "else than text"),
        ({"messages": [ASK, {**ANSWER, "tool_calls": [{"function": 3}]}]}, "a call without a function"),
        (
            {
                "messages": [
                    ASK,
                    {**ANSWER, "tool_calls": [{"function": {"name": "news", "arguments": "{"}}]},
                ],
                "tools": OLD[1:2],
            },
            "are not JSON",
        ),
        ({"data": {"spans": [{"attributes": {}}]}, "info": {}}, "no conversation in it"),
    ],
)
def test_what_is_no_conversation_is_told(record: Any, reason: str) -> None:
    found = read_log(json.dumps(record).encode() + b"\n{}\n", "log")
    assert found.examples == ()
    assert found.problems[0].record == 1
    assert reason in found.problems[0].reason


def test_tool_names_outside_of_the_document_are_told() -> None:
    strange = function("strange", closed({}))
    call = {"function": {"name": "strange", "arguments": "{}"}}
    record = {"messages": [ASK, {"role": "assistant", "tool_calls": [call]}], "tools": [strange]}
    found = read_log(json.dumps(record).encode(), "log", document(*OLD))
    assert "`strange` does not stand in the tool document" in found.problems[0].reason


def test_a_conversation_stands_once_and_ids_do_too() -> None:
    record = {"id": "same", "messages": [ASK, ANSWER], "tools": OLD[1:2]}
    other = {**record, "messages": [{**ASK, "content": "More news of x?"}, ANSWER]}
    found = read_log("\n".join(map(json.dumps, [record, record, other])).encode(), "log")
    assert found.repeated == 1
    assert [one["id"] for one in found.examples] == ["same", "same-2"]


def test_what_is_no_log_is_an_error() -> None:
    with pytest.raises(ExampleError, match="is no JSON"):
        read_log(b"\xff\xfe nothing", "log")


@pytest.mark.slow
def test_a_trace_that_mlflow_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.entities import SpanType

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.set_experiment("traces")
    with mlflow.start_span(name="chat", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"messages": [ASK], "tools": OLD[1:2]})
        span.set_outputs(RESPONSE)
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_trace(mlflow.get_last_active_trace_id())
    assert trace is not None
    found = read_log(trace.to_json().encode(), "trace.json", document(*OLD))
    assert found.problems == ()
    (one,) = found.examples
    assert one["messages"][-1]["tool_calls"][0]["function"] == CALL["function"]
    assert str(one["id"]).startswith("tr-")
