"""How failures read, and the exit codes that they mean."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest

from adaptman.cli._errors import Failure, failure_of, guarded, print_failure
from adaptman.errors import AdaptmanError, GateRefusedError
from policies.errors import PolicyError
from registry.errors import RegistryError
from tests.cli.conftest import Terminal
from tests.lifecycle.story import FIRST_TOOLS, Story, document
from tests.lifecycle.test_update import starved_by_torch

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "adaptman"]


def failing(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AdaptmanError("no such thing `x`", hint="make one"), 1),
        (RegistryError("no such thing `x`", hint="make one"), 1),
        (PolicyError("no such thing `x`", hint="make one"), 1),
        (GateRefusedError("no such thing `x`", hint="make one"), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_domain_errors(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as raised:
        guarded(failing(error))
    assert raised.value.exit_code == code
    assert capsys.readouterr().err == "error: no such thing `x`\n\nhint: make one\n"


def test_no_hint_no_blank_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_failure(Failure("no such thing", "", 1))
    assert capsys.readouterr().err == "error: no such thing\n"


def test_passwords_and_control_characters_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_failure(Failure("postgresql://ada:s3cret@db/x \x1b[31m", "see http://u:pw@host/?token=abc&a=1", 1))
    shown = capsys.readouterr().err
    assert (
        shown == "error: postgresql://ada:***@db/x \\x1b[31m\n\nhint: see http://u:***@host/?token=***&a=1\n"
    )


def test_an_interrupt_is_one_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as raised:
        guarded(failing(KeyboardInterrupt()))
    assert raised.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_keeps_its_traceback() -> None:
    for error in (ZeroDivisionError(), RuntimeError("shapes do not match")):
        with pytest.raises(type(error)):
            guarded(failing(error))


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (failing(MemoryError()), "out of memory"),
        (starved_by_torch, "out of memory"),
        (failing(OSError(errno.ENOMEM, "Cannot allocate memory")), "cannot allocate memory"),
    ],
)
def test_memory_that_runs_out(
    work: Callable[[], object], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(click.exceptions.Exit) as raised:
        guarded(work)
    assert raised.value.exit_code == 1
    assert capsys.readouterr().err == (
        f"error: {told}\n\nhint: free some memory, or run it where there is more\n"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_the_disk_refuses(number: int) -> None:
    failure = failure_of(OSError(number, os.strerror(number), "/data/x"))
    assert failure is not None
    assert failure.exit_code == 1
    assert failure.message.lower() == f"`/data/x`: {os.strerror(number).lower()}"
    assert failure.hint


def test_a_missing_file(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("schema", "register", "nowhere.json")
    assert (result.exit_code, result.stderr) == (1, "error: `nowhere.json`: no such file or directory\n")


def test_no_workspace_says_what_to_run(terminal: Terminal) -> None:
    result = terminal.run("history")
    assert result.exit_code == 1
    assert terminal.plain(result.stderr) == (
        "error: no workspace at `TMP/home`\n\nhint: run `adaptman init` to make one\n"
    )


def test_another_model_line(terminal: Terminal, begun: Story) -> None:
    result = terminal.run("--model", "other", "history")
    assert result.exit_code == 1
    assert "error: no model line `other`" in result.stderr
    assert "known lines are `default`" in result.stderr


def test_an_old_database_says_how_to_upgrade(terminal: Terminal, begun: Story) -> None:
    begun.workspace.close()
    terminal.ok("db", "downgrade", "base", "--yes")
    result = terminal.run("history")
    assert result.exit_code == 1
    assert "hint: make a backup of the database, then run `adaptman db upgrade`" in result.stderr


def test_a_file_that_is_no_database(terminal: Terminal) -> None:
    terminal.home.mkdir()
    (terminal.home / "registry.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    result = terminal.run("history")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "file is not a database" in result.stderr


def process(
    folder: Path, *words: str, program: Sequence[str] = PROGRAM, **changes: object
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ADAPTMAN_AUTO_SYNC": "false"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **changes}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [*program, "--home", str(folder / "home"), *words], env=environment, cwd=folder, text=True, **streams
    )


def test_a_reader_that_goes_away_is_no_error(terminal: Terminal, told: Story) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = process(terminal.folder, "log", "--json", stdout=writing)
    os.close(writing)
    assert child.communicate()[1] == ""
    assert child.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no device /dev/full")
def test_output_onto_a_full_disk(terminal: Terminal, told: Story) -> None:
    with Path("/dev/full").open("w") as full:
        child = process(terminal.folder, "log", "--json", stdout=full)
        errors = child.communicate()[1]
    assert errors.startswith("error: no space left on device")
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert child.returncode == 1


def test_ctrl_c_while_a_command_works(terminal: Terminal, begun: Story) -> None:
    pipe = terminal.folder / "tools.json"
    os.mkfifo(pipe)
    child = process(terminal.folder, "schema", "register", str(pipe))
    with pipe.open("wb"):  # returns when the command has opened its end and waits for the document
        child.send_signal(signal.SIGINT)
        assert child.communicate()[1] == "interrupted\n"
    assert child.returncode == 130
    assert terminal.json("schema", "list") == []


DEMO_STEP = """
import sys
from pathlib import Path
from adaptman.cli.demo import run_command
run_command(Path(sys.argv[2]), sys.argv[3:])
print("the demo goes on")
"""


def test_ctrl_c_ends_the_demo_and_not_only_its_step(terminal: Terminal, begun: Story) -> None:
    pipe = terminal.folder / "tools.json"
    os.mkfifo(pipe)
    child = process(
        terminal.folder, "schema", "register", str(pipe), program=[sys.executable, "-c", DEMO_STEP]
    )
    with pipe.open("wb"):
        child.send_signal(signal.SIGINT)
        said, errors = child.communicate()
    assert said == ""
    assert errors.startswith("interrupted\n")


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from adaptman.cli.main import main
main()
"""


def test_a_disk_that_takes_no_more(terminal: Terminal, begun: Story) -> None:
    (terminal.folder / "tools.json").write_bytes(document(FIRST_TOOLS))
    words = ["--home", str(terminal.home), "schema", "register", str(terminal.folder / "tools.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert terminal.json("schema", "list") == []
