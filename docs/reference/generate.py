"""Writes the pages of this folder from the code: `make docs`. A test fails when a page is not current."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

HERE = Path(__file__).resolve().parent
MADE = "<!-- Made from the code by `make docs`; changes here are lost. -->"
WIDTH = 100


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", MADE, *parts]) + "\n"


def _commands() -> str:
    from adaptman.cli.main import cli

    intro = (
        "What `--help` says of each command. Data goes to stdout and everything else to stderr. Exit codes: "
        "0 done, 1 an error that a message explains, 2 a wrong command line, 3 the gate refused, "
        "130 interrupted."
    )
    return _page("Commands", intro, *_helps(cli, ["adaptman"], None))


def _helps(command: click.Command, path: list[str], parent: click.Context | None) -> Iterator[str]:
    """A heading and the help of `command`, then of all that are below it, in the order that `--help` has."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "color": False}
    context = click.Context(command, info_name=path[-1], parent=parent, **settings)
    with context:
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{'#' * min(len(path) + 1, 4)} `{' '.join(path)}`\n\n```text\n{text}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _helps(below, [*path, name], context)


def _settings() -> str:
    from adaptman.config import ENVIRONMENT_PREFIX, SETTINGS_FILE, Settings

    intro = (
        f"Each is a key of `{SETTINGS_FILE}` in the working directory and an environment variable. Flags win "
        "over the environment, the environment over the file, the file over the defaults."
    )
    parts = [
        f"## `{name}`\n\nEnvironment: `{ENVIRONMENT_PREFIX}{name.upper()}`. {_default(field)}"
        f"\n\n{_flowing(field.description)}"
        for name, field in Settings.model_fields.items()
    ]
    return _page("Settings", intro, *parts)


def _default(field: Any) -> str:
    if field.default_factory is not None or field.default is None:
        return "Default: see below."
    return f"Default: `{str(field.default).lower() if isinstance(field.default, bool) else field.default}`."


def _recipe() -> str:
    from adaptman.learning.recipe import Recipe

    intro = "How an update is trained. The digest of the whole recipe is part of a version's identity."
    rows = [f"| `{name}` | `{default}` | {text} |" for name, default, text in _fields(Recipe, "")]
    return _page("Recipe", intro, "\n".join(["| setting | default | what |", "| --- | --- | --- |", *rows]))


def _fields(kind: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Dotted name, default and docstring of every setting of a dataclass and of those within it."""
    texts = _field_docstrings(kind)
    values = kind()
    for field in dataclasses.fields(kind):
        value = getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(type(value), f"{prefix}{field.name}.")
        else:
            shown = ", ".join(value) if isinstance(value, tuple) else str(value)
            yield f"{prefix}{field.name}", shown, texts[field.name].replace("|", "\\|")


def _field_docstrings(kind: Any) -> dict[str, str]:
    """The string under each field of a class, on one line."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), f"{kind.__name__}.{field.target.id} has no docstring"
            assert isinstance(text.value, ast.Constant)
            texts[field.target.id] = _flowing(str(text.value.value))
    return texts


def _flowing(text: str | None) -> str:
    return " ".join((text or "").split())


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": _commands,
    "settings.md": _settings,
    "recipe.md": _recipe,
}


def main() -> None:
    """Write the pages that differ and name them."""
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
