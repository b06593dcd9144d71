"""`adaptman approve`, and `adaptman version sign`, `verify` and `discard`, as they read at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.cli.tiny import line_at
from tests.lifecycle.keys import pair
from tests.lifecycle.story import Story
from tests.lifecycle.tiny_line import TinyLine, tiny_lines


@pytest.fixture
def candidate(begun: Story) -> Story:
    """Version 2, which passed."""
    begun.register()
    begun.train(2, parent=1, replay=True, note="")
    begun.judge(2, passed=True)
    return begun


@pytest.fixture
def updated(terminal: Terminal) -> TinyLine:
    """A version 2 that was really trained."""
    return line_at(terminal, tiny_lines().updated)


def test_approvals_from_the_first_to_the_promotion(
    terminal: Terminal, candidate: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("policy.yaml").write_text("name: two\nrules: {}\npromotion: {approvals: 2, four_eyes: true}\n")
    monkeypatch.setenv("ADAPTMAN_POLICY", "policy.yaml")
    own = terminal.run("approve", "2", "--note", "my own work")
    assert own.stdout == "version 2 (pass under policy default) is approved by ada@lab; by all: ada@lab\n"
    assert own.stderr == "ada@lab trained version 2: under four eyes this approval does not count\n"
    for who in ("bob@lab", "bob@lab", "cy@lab"):
        refused = terminal.run("promote", "2")
        assert refused.exit_code == 3
        assert "✗ 2 approvals needed" in refused.stderr
        monkeypatch.setenv("ADAPTMAN_ACTOR", who)
        said = terminal.ok("approve", "2", "--note", "read the outputs")
    assert said == (
        "version 2 (pass under policy default) is approved by cy@lab; by all: ada@lab, bob@lab, cy@lab\n"
    )
    assert "is approved by cy@lab already, nothing is recorded" in terminal.ok("approve", "2", "--note", "x")
    assert terminal.ok("promote", "2") == "version 2 is champion, in place of version 1\n"
    shown = terminal.ok("version", "show", "2")
    assert 'approved by bob@lab, 2026-01-05 10:05: "read the outputs"' in shown
    (decision,) = terminal.json("version", "show", "2")["decisions"]
    assert [one["actor"] for one in decision["approvals"]] == ["ada@lab", "bob@lab", "cy@lab"]
    assert terminal.ok("log").count("version.approved") == 3


@pytest.mark.parametrize("words", [(), ("--note",), ("--note", ""), ("--note", " \t")])
def test_an_approval_needs_a_note(terminal: Terminal, candidate: Story, words: tuple[str, ...]) -> None:
    assert terminal.run("approve", "2", *words).exit_code == 2


def test_what_cannot_be_approved(terminal: Terminal, candidate: Story) -> None:
    candidate.train(3, parent=1, replay=True, note="")
    for number, told in {
        "3": "has no decision to approve",
        "1": "is `champion`",
        "9": "no version `9`",
    }.items():
        result = terminal.run("approve", number, "--note", "fine")
        assert result.exit_code == 1
        assert told in result.stderr


def test_a_note_cannot_steer_the_terminal(terminal: Terminal, candidate: Story) -> None:
    terminal.ok("approve", "2", "--note", "fine\x1b[2J")
    assert "\x1b" not in terminal.ok("version", "show", "2") + terminal.ok("log")


def test_sign_and_verify(terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = pair(terminal.folder, "ada")
    unsigned = terminal.run("version", "verify", "2", "--key", str(ada.public))
    assert unsigned.exit_code == 1
    assert "there is no signature" in unsigned.stdout
    said = terminal.ok("version", "sign", "2", "--key", "ada.pem")
    assert said.startswith("version 2 is signed with key ")
    assert "already, nothing is recorded" in terminal.ok("version", "sign", "2", "--key", "ada.pem")
    monkeypatch.setenv("ADAPTMAN_TRUSTED_KEYS", "ada.pub.pem")
    shown = terminal.ok("version", "verify", "2")
    assert [line[2] for line in shown.splitlines()[:-1]] == ["✓"] * 6
    assert shown.endswith("version 2 is what was signed\n")
    found = terminal.json("version", "verify", "2")
    assert (found["ok"], [one["status"] for one in found["signatures"]]) == (True, ["valid"])
    assert "by ada@lab with key" in terminal.ok("version", "show", "2")
    assert terminal.json("version", "show", "2")["signatures"][0]["key"] == found["signatures"][0]["key_id"]
    assert terminal.ok("log").count("version.signed") == 1
    everything = b"".join(path.read_bytes() for path in terminal.home.rglob("*") if path.is_file())
    assert ada.private.read_bytes().splitlines()[1] not in everything


def test_verify_tells_what_is_wrong(terminal: Terminal, updated: TinyLine) -> None:
    ada, bob = pair(terminal.folder, "ada"), pair(terminal.folder, "bob")
    terminal.ok("version", "sign", "2", "--key", str(ada.private))
    result = terminal.run("version", "verify", "2", "--key", str(bob.public))
    assert result.exit_code == 1
    assert "unknown key, the key is not among those that are trusted" in result.stdout
    assert result.stdout.endswith("version 2 cannot be vouched for\n")
    store = updated.workspace.store
    store.path_of(store.tree(updated.adapter())["adapter_config.json"].sha256).unlink()
    result = terminal.run("version", "verify", "2", "--key", str(ada.public), "--json")
    assert result.exit_code == 1
    assert '"ok": false' in result.stdout
    assert "is missing" in result.stdout


@pytest.mark.parametrize(
    "words", [("sign",), ("verify",), ("verify", "--key", "missing.pem"), ("sign", "--key", ".")]
)
def test_keys_that_are_not_there(terminal: Terminal, told: Story, words: tuple[str, ...]) -> None:
    result = terminal.run("version", words[0], "3", *words[1:])
    assert result.exit_code == (2 if words == ("sign",) else 1)
    assert "Traceback" not in result.output


def test_discard(terminal: Terminal, candidate: Story) -> None:
    assert terminal.run("version", "discard", "2").exit_code == 2
    assert terminal.run("version", "discard", "2", "--reason", " ").exit_code == 2
    assert terminal.ok("version", "discard", "2", "--reason", "superseded") == "version 2 is discarded\n"
    shown = terminal.json("version", "show", "2")
    assert (shown["state"], shown["reason"]) == ("discarded", "superseded")
    for words in (
        ("promote", "2"),
        ("approve", "2", "--note", "x"),
        ("version", "discard", "2", "--reason", "x"),
    ):
        assert terminal.run(*words).exit_code == 1


@pytest.mark.parametrize("number", ["3", "4", "1"])  # champion, rolled back, the first
def test_who_was_champion_is_not_discarded(terminal: Terminal, told: Story, number: str) -> None:
    result = terminal.run("version", "discard", number, "--reason", "old")
    assert result.exit_code == 1
    assert "cannot become `discarded`" in result.stderr
    assert terminal.json("version", "show", number)["state"] in {"champion", "retired"}


def test_a_line_at_work_is_left_alone(terminal: Terminal, candidate: Story) -> None:
    workspace = candidate.workspace
    workspace.registry.write(
        lambda writer: writer.acquire_lease(candidate.model.id, "pid 1 on elsewhere: x", 60)
    )
    result = terminal.run("version", "discard", "2", "--reason", "x")
    assert result.exit_code == 1
    assert "is held by" in result.stderr
