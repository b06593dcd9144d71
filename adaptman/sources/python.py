"""Tools out of Python functions: signatures and docstrings become schemas, in a process of their own.

The module is run to be read, as `python -m` would from the current folder; what it prints is kept from our
own output. Descriptions of parameters come from `Annotated[…, Field(description=…)]`, else from the section
`Args:` of a docstring in Google's style. A parameter without an annotation takes anything.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from adaptman.errors import SourceError

_MAX_TOLD = 600


def read_functions(
    target: str, *, seconds: float = 30.0, on_run: Callable[[str], None] = lambda module: None
) -> bytes:
    """The document of `module:name`, where the name is a function, or a list or dict of functions.

    `on_run` is told the module whose code is run, before it is.

    Raises:
        SourceError: the module cannot be loaded in time, has no such name, or something in it is no tool.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise SourceError(f"`{target}` names no function", hint="write `--python MODULE:NAME`")
    on_run(module)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "tools.json"
        command = [sys.executable, str(Path(__file__).with_name("describing.py")), module, name, str(answer)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"`{module}` has not been loaded within {seconds:g} s",
                hint="give it more time with `--timeout SECONDS`, or see what it does when it is imported",
            ) from None
        if answer.is_file():
            return answer.read_bytes()
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])[-_MAX_TOLD:]
        raise SourceError(
            f"`{target}` cannot be read"
            + (f": {last}" if last else f": it ended with code {done.returncode}"),
            hint="the module is imported from the current folder, with the Python that runs adaptman",
        )
