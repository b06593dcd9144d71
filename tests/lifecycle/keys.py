"""Key files to sign with, made by openssl as a user would make them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """Files of a private and of a public key."""

    private: Path
    public: Path


def openssl(*words: str | Path) -> bytes:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def pair(folder: Path, name: str, *how: str) -> Pair:
    """`how` tells openssl the kind of key; Ed25519 if nothing is said."""
    folder.mkdir(exist_ok=True)
    made = Pair(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    openssl("genpkey", *(how or ("-algorithm", "ed25519")), "-out", made.private)
    openssl("pkey", "-in", made.private, "-pubout", "-out", made.public)
    return made
