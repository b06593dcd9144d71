"""`adaptman format` at a terminal."""

from __future__ import annotations

from tests.cli.conftest import Terminal
from tests.lifecycle.story import Story
from tests.toolspec.format_strategies import TAGGED


def test_the_list_and_one_of_it(terminal: Terminal) -> None:
    listed = terminal.json("format", "list")
    assert [one["name"] for one in listed][:2] == ["hermes", "llama3"]
    shown = terminal.json("format", "show", "llama3")
    assert {key: shown[key] for key in ("name", "version", "digest")} == {
        key: listed[1][key] for key in ("name", "version", "digest")
    }
    assert shown["calls"].startswith('{"name": "get_weather", "parameters": {"city": "Oslo"')
    text = terminal.ok("format", "show", "llama3")
    assert shown["calls"] in text
    assert shown["system_prompt"] in text
    assert shown["digest"] in text


def test_an_own_one_is_checked(terminal: Terminal) -> None:
    path = terminal.folder / "own.yaml"
    path.write_text(TAGGED)
    assert '{"tool": "get_weather"' in terminal.run("format", "show", "own.yaml").stdout
    path.write_text(TAGGED.replace('"\\n</call>"', '"}"'))
    refused = terminal.run("format", "show", "own.yaml")
    assert refused.exit_code == 1
    assert "`end`: `}` may stand in a name or in the text of arguments" in refused.stderr
    assert "hint: " in refused.stderr


def test_one_that_there_is_not(terminal: Terminal) -> None:
    refused = terminal.run("format", "show", "morse")
    assert refused.exit_code == 1
    assert "there is no output format `morse`" in refused.stderr


def test_own_ones_are_registered_by_name_and_version(terminal: Terminal, begun: Story) -> None:
    path = terminal.folder / "own.yaml"
    path.write_text(TAGGED)
    first = terminal.json("format", "register", "own.yaml")
    name = first["name"]
    assert (first["version"], first["created"]) == (3, True)
    assert terminal.json("format", "register", "own.yaml")["created"] is False
    path.write_text(TAGGED.replace("<call>", "<CALL>"))
    refused = terminal.run("format", "register", "own.yaml")
    assert refused.exit_code == 1
    assert f"`{name}` version 3 is on record already, and writes calls otherwise" in refused.stderr
    assert "raise its `version`, to 4" in refused.stderr
    path.write_text(TAGGED.replace("<call>", "<CALL>").replace("version: 3", "version: 4"))
    terminal.ok("format", "register", "own.yaml")
    listed = [(one["name"], one["version"]) for one in terminal.json("format", "list") if not one["builtin"]]
    assert listed == [(name, 3), (name, 4)]
    assert "<CALL>" in terminal.json("format", "show", name)["calls"]
    assert "<CALL>" not in terminal.json("format", "show", f"{name}@3")["calls"]
    assert terminal.run("format", "show", f"{name}@7").exit_code == 1


def test_the_versions_that_were_taught_one(terminal: Terminal, told: Story) -> None:
    listed = {one["name"]: one["versions"] for one in terminal.json("format", "list")}
    assert listed["hermes"] == [2, 3, 4]
    assert listed["gemma"] == []


def test_two_formats_side_by_side(terminal: Terminal) -> None:
    found = terminal.json("format", "diff", "hermes", "llama3")
    assert found["breaking"] is True
    assert [one["what"] for one in found["calls"]] == ["one call", "two calls"]
    assert not any(one["read"] for one in found["calls"])
    same = terminal.json("format", "diff", "hermes", "hermes")
    assert same["breaking"] is False
    assert all(one["same"] and one["read"] for one in same["calls"])
    text = terminal.ok("format", "diff", "hermes", "llama3")
    assert text.startswith("hermes 1 → llama3 1  calls written as before are not read")
    assert '\n- <tool_call>\n- {"name": "get_weather"' in text
    assert '\n+ {"name": "get_weather", "parameters"' in text
