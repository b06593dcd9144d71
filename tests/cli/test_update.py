"""`adaptman update` at a terminal, on a model that trains in a moment."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Terminal
from tests.cli.tiny import LENIENT, line_at, stopped_in_training, update_words
from tests.lifecycle.tiny_line import FIRST_EXAMPLES, TinyLine, declining, lines, tiny_lines


@pytest.fixture
def filled(terminal: Terminal) -> Iterator[TinyLine]:
    """A tool document, examples and two suites."""
    line = line_at(terminal, tiny_lines().filled)
    yield line
    line.workspace.close()


@pytest.fixture
def updated(terminal: Terminal) -> Iterator[TinyLine]:
    """The same after its first update."""
    line = line_at(terminal, tiny_lines().updated)
    yield line
    line.workspace.close()


def test_the_plan(terminal: Terminal, filled: TinyLine) -> None:
    assert terminal.ok(*update_words("plan")) == (
        "update   version 1 → a candidate for tool schema 1\n"
        "changes  3 added\n"
        "learn    3 examples, 8 seen, format hermes\n"
        "replay   4 samples from version 1, loss kl × 10\n"
        "suites   general (4), new-tools (4)\n"
        "recipe   4 steps, lr 0.0005, LoRA rank 2\n"
        'set      batch_size=2, max_length=4096, checkpoint_every=1, lora.targets=["q_proj", "down_proj"], '
        "replay.batch_size=2, replay.max_tokens=8, replay.top_k=4\n"
    )


def test_a_plan_tells_every_setting_that_is_not_the_default(terminal: Terminal, filled: TinyLine) -> None:
    words = ("update", "plan", "--schema", "1", "--examples", "examples.jsonl")
    assert "\nset " not in terminal.ok(*words, "--set", "steps=4")
    told = terminal.ok(*words, "--set", "replay.teacher=live", "--set", "kl_new=1", "--set", "adapter=full")
    assert "\nset      kl_new=1.0, adapter=full, replay.teacher=live\n" in told


def test_the_plan_of_an_update_of_all_weights(terminal: Terminal, filled: TinyLine) -> None:
    told = terminal.ok(*update_words("plan", "--set", "adapter=full"))
    assert "\nrecipe   4 steps, lr 0.0005, all weights\n" in told


@pytest.mark.parametrize(("count", "told"), [(0, ""), (1, "33% fewer"), (3, "no")])
def test_the_plan_of_an_update_that_declines(
    terminal: Terminal, filled: TinyLine, count: int, told: str
) -> None:
    some = [declining(one) if at < count else one for at, one in enumerate(FIRST_EXAMPLES)]
    (filled.folder / "examples.jsonl").write_text(lines(some))
    said = f"; {told} requests that no tool fits: the examples say how to answer those\n"
    plan = terminal.ok(*update_words("plan"))
    assert (said in plan) if told else ("that no tool fits" not in plan)
    assert "no tool fits" not in terminal.ok(*update_words("plan", "--set", "replay.irrelevant=0"))


def test_the_plan_of_a_second_update(terminal: Terminal, updated: TinyLine) -> None:
    updated.second_tools()
    told = terminal.ok("update", "plan", "--schema", "2", "--examples", "examples-2.jsonl")
    assert "changes  1 renamed, 1 changed, 1 unchanged (breaking)" in told
    assert "; under 1 unchanged tools; not under 2 changed or removed ones" in told


def test_the_plan_of_a_format_update(terminal: Terminal, updated: TinyLine) -> None:
    updated.second_tools()
    words = ("update", "plan", "--schema", "2", "--examples", "examples-2.jsonl", "--format", "llama3")
    told = terminal.ok(*words)
    assert "format hermes → llama3\n" in told
    assert "; under 1 unchanged tools, their calls rewritten; not under 2 changed or removed ones\n" in told
    assert terminal.json(*words)["format_change"] == {"from": "hermes/1", "to": "llama3/1"}


def test_the_plan_as_json(terminal: Terminal, filled: TinyLine) -> None:
    told = terminal.json(*update_words("plan"))
    assert (told["schema"], told["examples"], told["recipe"]["steps"]) == (1, 3, 4)
    assert terminal.json("version", "list") == json.loads(terminal.ok("version", "list", "--json"))
    assert len(terminal.json("version", "list")) == 1


def test_without_replay_and_suites_the_plan_says_what_that_means(terminal: Terminal) -> None:
    line = line_at(terminal, tiny_lines().begun)
    line.fill_without_suites()
    line.workspace.close()
    told = terminal.ok(*update_words("plan", "--set", "replay.kind=none"))
    assert "none: earlier skills are not protected" in told
    assert "none: nothing will judge it" in told


def test_a_candidate_that_is_refused(terminal: Terminal, filled: TinyLine) -> None:
    result = terminal.run(*update_words("run", "--note", "first tools"))
    assert result.exit_code == 0
    first, *rest = result.stdout.splitlines()
    assert first == "version 2 is refused"
    assert rest[0].startswith("  ✗ ")
    assert "promote" not in result.stdout
    assert "update   version 1 → a candidate" in result.stderr
    for phase in ("replay ", "training ", "v2 on general ", "v1 on new-tools "):
        assert f"\n{phase}" in result.stderr
    assert terminal.json("version", "show", "2")["note"] == "first tools"
    assert terminal.run("promote", "2").exit_code == 3


def test_a_candidate_that_passes(
    terminal: Terminal, filled: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (terminal.folder / "policy.yaml").write_text(LENIENT)
    monkeypatch.setenv("ADAPTMAN_POLICY", "policy.yaml")
    told = terminal.ok(*update_words())
    assert told.startswith("version 2 is passed\n  ✓ general: 4 cases")
    assert told.endswith("\npromote it with `adaptman promote 2`\n")
    assert "version 2 is champion" in terminal.ok("promote", "2")


def test_a_candidate_that_lost_too_much_is_moved_back(
    terminal: Terminal, updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal says how, the plan says that nothing is trained, and the record what was moved."""
    # Everything that the tiny model says is wrong, and a floor of 0 calls that learned.
    (terminal.folder / "policy.yaml").write_text(
        "name: strict\nrules:\n  general: {floor: 1}\n  target: {floor: 0}\n"
    )
    monkeypatch.setenv("ADAPTMAN_POLICY", "policy.yaml")
    assert terminal.ok(*update_words("run", "--set", "seed=1")).endswith(
        "\nit learned the update and lost too much: the same command with `--set interpolate=0.8`, or "
        "less, goes less far from version 1, and trains nothing again\n"
    )
    moved = ("--set", "seed=1", "--set", "interpolate=0.8")
    assert terminal.ok(*update_words("plan", *moved)).endswith(
        "weights  0.8 of the way from version 1 to version 3: nothing is trained\n"
    )
    result = terminal.run(*update_words("run", *moved))
    assert result.stdout.startswith("version 4 is refused\n")
    assert "interpolate" not in result.stdout
    assert "training" not in result.stderr
    shown = terminal.ok("version", "show", "4")
    assert "trained as   version 3, moved back to 0.8 of the way\n" in shown


def test_what_was_not_learned_is_not_moved_back(terminal: Terminal, filled: TinyLine) -> None:
    told = terminal.ok(*update_words())
    assert told.startswith("version 2 is refused\n")
    assert "interpolate" not in told


def test_without_a_target_nothing_shows_that_it_was_learned(
    terminal: Terminal, filled: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (terminal.folder / "policy.yaml").write_text("name: blind\nrules:\n  general: {floor: 1}\n")
    monkeypatch.setenv("ADAPTMAN_POLICY", "policy.yaml")
    told = terminal.ok(*update_words())
    assert told.startswith("version 2 is refused\n")
    assert "interpolate" not in told


def test_a_plan_that_has_to_be_trained_before_it_is_moved(terminal: Terminal, filled: TinyLine) -> None:
    words = update_words("plan", "--set", "interpolate=0.8")
    assert terminal.ok(*words).endswith("weights  0.8 of the way from version 1\n")
    assert terminal.ok(*words, "--set", "adapter=fresh").endswith("0.8 of the way from the checkpoint\n")


def test_a_candidate_that_nothing_judges(terminal: Terminal) -> None:
    line = line_at(terminal, tiny_lines().begun)
    line.fill_without_suites()
    line.workspace.close()
    told = terminal.ok(*update_words())
    assert told.startswith("version 2 is trained\nnot judged: no suite is registered")
    assert "adaptman evaluate 2" in told
    assert terminal.json(*update_words()) == {
        "version": 2,
        "state": "trained",
        "results": [],
        "decision": None,
    }


def test_the_outcome_as_json(terminal: Terminal, updated: TinyLine) -> None:
    told = terminal.json(*update_words())
    assert (told["version"], told["state"], told["decision"]["verdict"]) == (2, "refused", "refuse")
    assert [result["suite_name"] for result in told["results"]] == ["general", "new-tools"]
    assert "outcomes" not in told["results"][0]


def test_the_same_again(terminal: Terminal, updated: TinyLine) -> None:
    result = terminal.run(*update_words())
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "version 2 is refused")
    assert "training" not in result.stderr


def test_ctrl_c_says_how_to_go_on(
    terminal: Terminal, filled: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in_training(terminal, monkeypatch, *update_words())
    assert terminal.ok(*update_words()).startswith("version 2 is refused")
    assert filled.adapter() == tiny_lines().digest


def test_the_second_is_told_who_holds_the_line(terminal: Terminal, filled: TinyLine) -> None:
    holder = "pid 7 on elsewhere.example: update to schema 1"
    filled.workspace.registry.write(
        lambda writer: writer.acquire_lease(filled.workspace.model_row().id, holder, 300.0)
    )
    result = terminal.run(*update_words())
    assert result.exit_code == 1
    assert f"error: model `default` is held by `{holder}` since 2026-01-05" in result.stderr
    assert "hint: wait until it has ended" in result.stderr


def test_a_training_that_fails(terminal: Terminal, filled: TinyLine) -> None:
    result = terminal.run(*update_words("run", "--set", "lr=1e30"))
    assert result.exit_code == 1
    assert "\nerror: the loss is not finite at step 2\n" in result.stderr
    assert "hint: lower the learning rate" in result.stderr
    assert terminal.json("version", "show", "2")["state"] == "failed"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--set", "steps"], 2, "`steps` is not NAME=VALUE"),
        (["--set", "stepz=3"], 1, "error: recipe: no setting is called `stepz`"),
        (["--set", "steps=three"], 1, "error: recipe.steps: int was expected, found 'three'"),
        (["--set", "replay.kind=old"], 1, "error: recipe.replay.kind is 'old'"),
        (["--format", "morse"], 1, "morse"),
        (["--schema", "9"], 1, "error: no tool schema `9`"),
        (["--schema", "0"], 2, "0 is not in the range"),
        (["--examples", "nowhere.jsonl"], 1, "error: `nowhere.jsonl` cannot be read: No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(terminal: Terminal, filled: TinyLine, words: list[str], code: int, told: str) -> None:
    for command in ("plan", "run"):
        result = terminal.run(*update_words(command, *words))
        assert (result.exit_code, "Traceback" in result.output) == (code, False)
        assert told in result.stderr
    assert len(filled.versions()) == 1


def test_an_unknown_setting_names_the_known_ones(terminal: Terminal, filled: TinyLine) -> None:
    assert "`replay.coeff`" in terminal.run(*update_words("plan", "--set", "x=1")).stderr.split("hint: ")[1]


def test_a_wrong_example_is_told_by_file_line_and_field(terminal: Terminal, filled: TinyLine) -> None:
    path = terminal.folder / "examples.jsonl"
    path.write_text(path.read_text().replace(r"\"kelvin\"", r"\"rankine\""))
    result = terminal.run(*update_words("plan"))
    assert result.exit_code == 1
    assert "error: `examples.jsonl`, line 2, `messages[1].tool_calls[0].arguments.unit`: " in result.stderr


def test_the_help_says_what_the_exit_code_means(terminal: Terminal) -> None:
    told = " ".join(terminal.ok("update", "run", "--help").split())
    assert "Exit code 0 when the candidate was trained, whatever the gate decided" in told


def test_nothing_to_update(terminal: Terminal) -> None:
    result = terminal.run(*update_words())
    assert (result.exit_code, "adaptman init" in result.stderr) == (1, True)
