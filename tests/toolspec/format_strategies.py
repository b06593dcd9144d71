"""Calls, own formats and scraps of text, for every output format."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from adaptman.toolspec.formats import BUILTIN, OutputFormat, ToolCall, own_from_text
from adaptman.toolspec.formats.own import Description, OwnFormat, check

TAGGED = """\
name: tagged
version: 3
begin: "<call>\\n"
end: "\\n</call>"
separator: "\\n</call>\\n<call>\\n"
call: '{"tool": "{name}", "input": {arguments}}'
arguments: json
system_prompt: |
  Write <call>, the call as JSON, </call>. Tools:
  {tools}
"""
CODE = """\
name: code
version: 1
begin: "```tool\\n"
end: "\\n```"
call: "{name}({arguments})"
arguments: pythonic
system_prompt: "Tools:\\n{tools}"
"""
FORMATS: dict[str, OutputFormat] = dict(BUILTIN) | {
    name: own_from_text(text, f"{name}.yaml") for name, text in (("tagged", TAGGED), ("code", CODE))
}

MARKERS = (
    *("<tool_call>", "</tool_call>", "<|python_tag|>", "<|python_start|>", "<|python_end|>", "[TOOL_CALLS]"),
    *("[ARGS]", "<start_function_call>", "call:", "<end_function_call>", "<escape>", "<call>", "</call>"),
    *("```tool\n", "\n```", "u003c", "\\u003c", "\\", "\\\\u003c<escape>", "<", "; ", ", ", "]", ")", "}"),
)
_texts = (
    st.text()
    | st.sampled_from([*MARKERS, "\x00", "\n", '"', "'", "\u2028", "\ud800", "null", "True", '": true, "'])
    | st.lists(st.sampled_from([*MARKERS, "a", "\\", '"']), max_size=5).map("".join)
)
# Gemma has no way to write half of a surrogate pair, and examples with one are refused when they are read.
_whole_texts = _texts.map(lambda text: text.replace("\ud800", "?"))


def values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Every kind of JSON value."""
    plain = st.none() | st.booleans() | st.integers(-(10**40), 10**40)
    leaves = plain | st.floats(allow_nan=False, allow_infinity=False) | texts
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )


names = st.sampled_from(["f", "get_weather", "math.factorial", "größe", "e", "END"])
"""Names that every format can hold."""
argument_names = _texts | st.sampled_from(["a", "from", "None", "my-key", "ﬁ", "größe", "x²", "", "a.b"])


def calls_for(fmt: OutputFormat) -> st.SearchStrategy[list[ToolCall]]:
    """Up to four calls."""
    texts = _whole_texts if fmt.name == "gemma" else _texts
    keys = (
        argument_names.map(lambda key: key.replace("\ud800", "?")) if fmt.name == "gemma" else argument_names
    )
    return st.lists(
        st.builds(ToolCall, names, st.dictionaries(keys, values(texts), max_size=4)), min_size=1, max_size=4
    )


scraps = st.lists(
    st.sampled_from(
        [
            *MARKERS,
            *(
                "\n",
                " ",
                "{",
                "[",
                '"',
                "'",
                ":",
                ",",
                ";",
                "=",
                "(",
                "**",
                "null",
                "1e999",
                "0x1",
                "f",
                "f(",
            ),
            *('{"name": "f", "arguments": {}}', '{"name": "f", "parameters": {}}', "[f(a=1)]", "call:f{a:1}"),
            *('{"tool": "', '", "input": ', "f[ARGS]{}", '"name"', '"a": 1', "a=1", "é", "\x00", "\ud800"),
        ]
    ),
    max_size=30,
).map("".join)

_marker_texts = st.text(st.sampled_from("<>|@#[]{}()aE0:\"', \n-"), min_size=1, max_size=6)


@st.composite
def own_descriptions(draw: st.DrawFn) -> Description:
    """Descriptions that are valid field by field, and may be ambiguous."""
    between = [draw(_marker_texts | st.just("")) for _ in range(3)]
    slots = draw(st.sampled_from([["{name}", "{arguments}"], ["{arguments}", "{name}"]]))
    style = draw(st.sampled_from(["json", "pythonic"]))
    if style == "pythonic":
        slots = [f"({slot})" if slot == "{arguments}" else slot for slot in slots]
    return Description(
        name="made",
        version=1,
        begin=draw(_marker_texts),
        end=draw(_marker_texts),
        separator=draw(_marker_texts | st.just("\n")),
        call=between[0] + slots[0] + between[1] + slots[1] + between[2],
        arguments=style,  # type: ignore[arg-type]
        system_prompt="{tools}",
    )


def is_clear(told: Description) -> bool:
    """Whether `check` lets it pass."""
    from adaptman.errors import ToolDocumentError

    try:
        check(told, "made.yaml")
    except ToolDocumentError:
        return False
    return True


own_formats = own_descriptions().filter(is_clear).map(OwnFormat)
