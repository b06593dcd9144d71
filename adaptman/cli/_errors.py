"""How a failure reads on a terminal: `error: …`, a blank line, `hint: …` on stderr, and an exit code.

0    done
1    a domain error: the message says what and which one, the hint says the way out
2    the command line itself is wrong
3    the gate refused the promotion, or the policy the update
130  interrupted
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import NamedTuple, TextIO

import click

from adaptman.errors import AdaptmanError, is_out_of_memory

EXIT_DOMAIN = 1
EXIT_DRIFT = 4
EXIT_INTERRUPTED = 130


class Failure(NamedTuple):
    """What to print about an exception, and the exit code it means."""

    message: str
    hint: str
    exit_code: int


def guarded(work: Callable[[], object]) -> object:
    """Run a command; a failure that a user can meet becomes two lines on stderr and an exit code.

    Raises:
        click.exceptions.Exit: with the exit code of the failure.
        Exception: anything that is a bug; its traceback is wanted.
    """
    try:
        return work()
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        _report(error, failure)
        raise click.exceptions.Exit(failure.exit_code) from error


def failure_of(error: Exception) -> Failure | None:
    """How to tell `error` to a user; `None` when it is a bug and not an answer to bad input."""
    if isinstance(error, _domain_errors()):
        return Failure(error.message, error.hint, error.exit_code)  # type: ignore[attr-defined]
    if isinstance(error, OSError):
        return _os_failure(error)
    if _is_database_error(error):
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return Failure(f"the registry's database refused: {reason}", "run `adaptman doctor`", EXIT_DOMAIN)
    if is_out_of_memory(error):
        return Failure("out of memory", _HINTS[errno.ENOMEM], EXIT_DOMAIN)
    return None


def _domain_errors() -> tuple[type[Exception], ...]:
    from policies.errors import PolicyError
    from registry.errors import RegistryError

    return AdaptmanError, RegistryError, PolicyError


def _is_database_error(error: Exception) -> bool:
    """True for what SQLAlchemy wraps; never imports it."""
    exceptions = sys.modules.get("sqlalchemy.exc")
    return exceptions is not None and isinstance(error, exceptions.DBAPIError)


_HINTS = {
    errno.ENOMEM: "free some memory, or run it where there is more",
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some of your disk quota and run the command again",
    errno.EROFS: "the file system is read-only; choose another folder with `--home DIR`",
    errno.EACCES: "check who owns it and its permissions, or choose another folder with `--home DIR`",
    errno.EPERM: "check who owns it and its permissions, or choose another folder with `--home DIR`",
}


def _os_failure(error: OSError) -> Failure | None:
    if error.errno == errno.EPIPE:  # the reader went away: nobody is left to be told
        return Failure("", "", EXIT_DOMAIN)
    if error.errno is None and error.filename is None:
        return None
    reason = error.strerror or str(error)
    where = f"`{error.filename}`: " if error.filename is not None else ""
    return Failure(f"{where}{reason[:1].lower()}{reason[1:]}", _HINTS.get(error.errno or 0, ""), EXIT_DOMAIN)


def _report(error: Exception, failure: Failure) -> None:
    if isinstance(error, OSError):
        _discard_unwritable(sys.stdout)
    if failure.message:
        print_failure(failure)


def print_failure(failure: Failure) -> None:
    """`error: …`, and after a blank line `hint: …`, on stderr; passwords in URLs are never shown."""
    from adaptman.cli._output import plain
    from adaptman.config import redacted

    lines = [click.style("error: ", fg="red", bold=True) + plain(redacted(failure.message))]
    if failure.hint:
        lines += ["", click.style("hint: ", fg="cyan", bold=True) + plain(redacted(failure.hint))]
    click.echo("\n".join(lines), err=True)


def _discard_unwritable(stream: TextIO) -> None:
    """Keep the interpreter from failing once more when it flushes a stream that cannot be written."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
