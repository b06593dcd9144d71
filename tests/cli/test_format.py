"""`adaptman format` at a terminal."""

from __future__ import annotations

from tests.cli.conftest import Terminal
from tests.toolspec.format_strategies import TAGGED


def test_the_list_and_one_of_it(terminal: Terminal) -> None:
    listed = terminal.json("format", "list")
    assert [one["name"] for one in listed][:2] == ["hermes", "llama3"]
    shown = terminal.json("format", "show", "llama3")
    assert {key: shown[key] for key in ("name", "version", "digest")} == listed[1]
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
