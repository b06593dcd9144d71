"""A program run with a limit on what it may write: `python limited.py BYTES COMMAND …`.

A script of its own, started between a client and a server that talks on its standard output: whoever reads
the output need not fear for its memory. It loads nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

TOO_MUCH = 77
"""The exit code where the program wrote more."""


def main(limit: int, command: list[str]) -> int:
    """Run `command` and pass on its output, up to `limit` bytes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None, "it was asked for"
        output = sys.stdout.buffer
        with contextlib.suppress(BrokenPipeError):
            while chunk := os.read(server.stdout.fileno(), 1 << 16):
                limit -= len(chunk)
                if limit < 0:
                    server.kill()
                    print("more output than is read; it was stopped", file=sys.stderr)
                    return TOO_MUCH
                output.write(chunk)
                output.flush()
    return server.returncode


if __name__ == "__main__":
    try:
        code = main(int(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.exit(f"{sys.argv[2]}: {error.strerror}")
    sys.exit(code)
