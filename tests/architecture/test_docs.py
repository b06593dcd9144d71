"""The pages lead somewhere, and those made from the code are current."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from adaptman.evaluation.suites import SuiteKind, read_suite
from adaptman.toolspec.examples import read_examples
from adaptman.toolspec.formats import own_from_text
from tests.architecture.source import ROOT
from tests.toolspec.documents import closed, document, function

WEATHER = document(function("get_weather", closed({"city": {"type": "string"}}, "city"), "Weather"))
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# A line of a code block, with or without a prompt, or code within a line.
COMMAND = re.compile(r"^(?: {4}|\$ )?(adaptman [^#|>\n]+)|`(adaptman [^`\n]+)`", re.MULTILINE)


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", REFERENCE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be reached by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _leads_nowhere(page: Path, link: str) -> bool:
    path, _, fragment = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or (fragment != "" and fragment not in _anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if _leads_nowhere(page, link)] == []


def test_every_page_is_linked_from_an_index() -> None:
    listed = {
        (index.parent / link.partition("#")[0]).resolve()
        for index in (ROOT / "docs").rglob("README.md")
        for link in LINK.findall(index.read_text(encoding="utf-8"))
    }
    pages = set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "README.md"}
    assert {str(page.relative_to(ROOT)) for page in pages - listed} == set()


def _commands(page: Path) -> list[str]:
    found = COMMAND.finditer(page.read_text(encoding="utf-8"))
    return [match[1] or match[2] for match in found]


def _parse(line: str) -> None:
    """Walk down the commands as the program does, without running one.

    Raises:
        click.UsageError: no such command or option.
    """
    from adaptman.cli.main import cli

    command: click.Command | None = cli
    name, *arguments = shlex.split(line)
    context = None
    while command is not None:
        context = click.Context(command, info_name=name, parent=context, **command.context_settings)
        _, arguments, _ = command.make_parser(context).parse_args(arguments)
        if not isinstance(command, click.Group) or not arguments:
            return
        name, *arguments = arguments
        command = command.get_command(context, name)
    raise click.UsageError(f"no such command `{name}`")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    for line in _commands(page):
        _parse(line)


def test_commands_on_the_pages_are_found() -> None:
    assert "adaptman schema register tools.json" in _commands(ROOT / "docs" / "guides" / "first-update.md")
    with pytest.raises(click.UsageError):
        _parse("adaptman schema register --no-such-option tools.json")
    with pytest.raises(click.UsageError):
        _parse("adaptman schema forget")


@pytest.mark.parametrize("name", ["commands.md", "settings.md", "recipe.md"])
def test_the_reference_is_current(name: str) -> None:
    made = _generator().PAGES[name]()
    assert (REFERENCE / name).read_text(encoding="utf-8") == made, "run `make docs`"


BLOCK = re.compile(r"^```jsonl (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((REFERENCE / "files.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "text"), BLOCKS, ids=[kind for kind, _ in BLOCKS])
def test_files_on_the_page_are_read(kind: str, text: str) -> None:
    if kind == "examples":
        assert read_examples(text.encode(), "files.md", WEATHER)
        return
    suite = read_suite(text.encode(), name="page", kind=SuiteKind(kind), origin="files.md")
    assert len(suite.cases) == text.count('{"id": ')


def test_the_output_format_on_the_page_is_read() -> None:
    page = (REFERENCE / "files.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml format\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert own_from_text(text, "files.md").parse('<call>{"tool": "f", "input": {}}</call>').calls


def test_a_file_of_each_kind_is_on_the_page() -> None:
    assert {kind for kind, _ in BLOCKS} == {"examples", *SuiteKind} - {"tools"}
