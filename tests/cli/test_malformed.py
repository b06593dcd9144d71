"""Hundreds of spoiled files and arguments: a clear error, the right exit code, nothing half-written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from click.testing import Result

from adaptman.cli.main import cli
from policies.policy import builtin_text
from tests.cli.conftest import Terminal
from tests.cli.malformed import at_most, spoiled_json, spoiled_jsonl, spoiled_yaml
from tests.cli.tiny import line_at, update_words
from tests.lifecycle.story import FIRST_TOOLS, document, suite_lines
from tests.lifecycle.tiny_line import FIRST_EXAMPLES, TinyLine, lines, tiny_lines

pytestmark = pytest.mark.slow
KINDS = ("target", "tools", "irrelevance", "format", "general", "drift")


def state_of(line: TinyLine) -> tuple[int, frozenset[str]]:
    """The number of events, and every file of the workspace but the database's own."""
    home = line.workspace.settings.home
    files = {
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith("registry.db")
    }
    with line.workspace.registry.read() as reader:
        return reader.verify_chain().count, frozenset(files)


@dataclass
class Trial:
    """Runs commands on spoiled input and holds each to the same promises."""

    terminal: Terminal
    line: TinyLine
    seen: Counter[int] = field(default_factory=Counter)

    def run(self, *words: str) -> Result:
        before = state_of(self.line)
        result = self.terminal.run(*words)
        told = f"{words}: {result.output[-600:]!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit), told
        assert result.exit_code in (0, 1, 2), told
        assert "Traceback" not in result.output, told
        if result.exit_code:
            assert result.stdout == "", told
            assert result.stderr.startswith(("error: ", "Usage: ")) or "Aborted!" in result.stderr, told
            assert state_of(self.line) == before, told
        else:
            with self.line.workspace.registry.read() as reader:
                assert reader.verify_chain().ok, told
        self.seen[result.exit_code] += 1
        return result

    def each(self, files: Sequence[bytes], name: str, words: Callable[[str], Sequence[str]]) -> None:
        path = self.terminal.folder / name
        for data in files:
            path.write_bytes(data)
            self.run(*words(str(path)))

    @property
    def refused(self) -> int:
        return self.seen[1] + self.seen[2]


@pytest.fixture
def trial(terminal: Terminal) -> Iterator[Trial]:
    line = line_at(terminal, tiny_lines().updated)
    yield Trial(terminal, line)
    line.workspace.close()


def test_tool_documents(trial: Trial) -> None:
    files = at_most(120, spoiled_json(document(FIRST_TOOLS)))
    trial.each(files, "spoiled.json", lambda path: ("schema", "register", path))
    trial.each(files[::6], "spoiled.json", lambda path: ("schema", "diff", path))
    assert trial.refused >= 60


@pytest.mark.parametrize("kind", KINDS)
def test_suites(trial: Trial, kind: str) -> None:
    files = at_most(40, spoiled_jsonl(suite_lines(kind)))
    trial.each(files, "spoiled.jsonl", lambda path: ("suite", "register", path, "--kind", kind))
    assert trial.refused >= 15


def test_examples(trial: Trial) -> None:
    files = at_most(80, spoiled_jsonl(lines(FIRST_EXAMPLES).encode()))
    words = [word for word in update_words("plan") if word != "examples.jsonl"]
    place = words.index("--examples") + 1
    trial.each(files, "spoiled.jsonl", lambda path: (*words[:place], path, *words[place:]))
    assert trial.refused >= 40


def test_policies(trial: Trial) -> None:
    text = b"extends: default\n" + builtin_text().encode()
    files = at_most(80, spoiled_yaml(text))
    trial.each(files, "spoiled.yaml", lambda path: ("policy", "check", path))
    trial.each(files[::8], "spoiled.yaml", lambda path: ("policy", "test", path))
    assert trial.refused >= 40


SETTINGS = b"""
home = "home"
model = "default"
policy = "default"
actor = "ada"
auto_sync = false
"""


def test_settings_files(trial: Trial) -> None:
    spoiled = [
        SETTINGS.replace(old, new)
        for old, new in [
            (b'"home"', b"5"),
            (b'"home"', b'"\\u0000"'),
            (b'"default"', b'["default"]'),
            (b"false", b'"perhaps"'),
            (b"=", b"=="),
            (b'"ada"', b'"' + b"a" * 100_000),
            (b"actor", b"aktor"),
            (b"model", b"actor"),
            (b"\n", b"\r\x00"),
        ]
    ]
    spoiled += [SETTINGS[:at] for at in range(1, len(SETTINGS), 9)]
    spoiled += [b"\xff\xfe" + SETTINGS, b"[" * 5000, b'a = "' + b"\xf0" * 10]
    path = trial.terminal.folder / "adaptman.toml"
    for data in spoiled:
        path.write_bytes(data)
        trial.run("history")
    assert trial.refused >= 15


def test_settings_in_the_environment(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptman.config import ENVIRONMENT_PREFIX, Settings

    for name in Settings.model_fields:
        for value in (
            "",
            " ",
            "\n",
            "x" * 3000,
            "[",
            "-1",
            "\udcff",
            "nonsense://\x01",
            "postgresql://x:1/y",
        ):
            with monkeypatch.context() as patch:
                patch.setenv(f"{ENVIRONMENT_PREFIX}{name.upper()}", value)
                trial.run("version", "list")
    assert trial.refused >= 10


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something."""
    if isinstance(command, click.Group):
        context = click.Context(command, **command.context_settings)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
        return
    yield path, command


BAD_WORDS = (
    *("", "no/such/thing", ".", "-1", "99999999999999999999", "NaN"),
    *("\x1b[31m", "ünï¢öde", "x" * 5000, "a=b"),
)
QUIET = {("demo",), ("init",), ("doctor",), ("update", "run")}
"""Not called with made-up words: they would do their work, which takes minutes, or say how the machine is."""


def test_arguments(trial: Trial) -> None:
    """Every command, given words that make no sense for each of its parameters in turn."""
    tried = 0
    for path, command in leaves(cli):
        if path in QUIET:
            continue
        needed = [one for one in command.params if isinstance(one, click.Argument) and one.required]
        options = [one for one in command.params if isinstance(one, click.Option) and not one.is_flag]
        for at, word in enumerate(BAD_WORDS):
            words = [*path, *(word for _ in needed)]
            if options:
                words += [options[at % len(options)].opts[0], word]
            if len(words) > len(path):
                trial.run(*words)
                tried += 1
        trial.run(*path, "--no-such-option")
        trial.run(*path, *("too", "many", "words", "for", "any", "command"))
    assert tried >= 150
    assert trial.refused >= 150


BAD_SETTINGS = (
    *("", "=", "steps", "steps=", "steps=-1", "steps=1e9", "steps=NaN", "lr=inf", "lr=0", "lr=x", "seed=-1"),
    *("lora.rank=0", "lora.rank=[]", "lora.targets=[]", "lora.targets=q", "lora=1", "lora.=1", ".=1"),
    *("replay.coeff=-1", "replay.samples=1.5", "replay.source=?", "nope=1"),
)


def test_recipe_settings(trial: Trial) -> None:
    words = update_words("plan")
    for setting in BAD_SETTINGS:
        trial.run(*words, "--set", setting)
    assert trial.refused >= 18


def test_a_file_that_cannot_be_read(trial: Trial, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for bad in (tmp_path, loop, tmp_path / "gone", Path("/proc/self/mem")):
        trial.run("schema", "register", str(bad))
        trial.run("suite", "register", str(bad), "--kind", "general", "--name", "x")
        trial.run("policy", "check", str(bad))
        trial.run(*update_words("plan"), "--examples", str(bad))
    assert trial.refused == 16
