"""Promotion policies by name or by file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman.errors import WorkspaceError

if TYPE_CHECKING:
    from policies.policy import Policy, PolicyText

_LARGEST = 1 << 20
"""Bytes that are read of a policy file; far more than `load_policy` accepts."""


@dataclass(frozen=True)
class PolicySource:
    """A policy, and the YAML that it was read from, comments and all."""

    policy: Policy
    text: str


def find_policy(which: str) -> Policy:
    """The built-in policy of that name, or the one in that file: a path, or a name ending in .yaml or .yml.

    Raises:
        PolicyError: no built-in policy has that name, or the file is not a policy.
        WorkspaceError: the file cannot be read.
    """
    return policy_source(which).policy


def policy_source(which: str) -> PolicySource:
    """What `find_policy` finds, with its text.

    Raises:
        PolicyError: no built-in policy has that name, or the file is not a policy.
        WorkspaceError: the file cannot be read.
    """
    from policies.policy import builtin_text, load_policy

    if _looks_like_path(which):
        return read_policy(Path(which))
    text = builtin_text(which)
    return PolicySource(load_policy(text, f"{which}.yaml"), text)


def read_policy(path: Path) -> PolicySource:
    """The policy in the file at `path`, and its text.

    Raises:
        PolicyError: the file is not a policy.
        WorkspaceError: the file cannot be read.
    """
    from policies.policy import load_policy

    text = read_text(path)
    return PolicySource(load_policy(text, str(path), find=_extended), text)


def _extended(which: str, origin: str) -> PolicyText:
    """The policy that the file `origin` extends: a built-in one by name, or a file by its path from there."""
    from policies.policy import PolicyText, builtin_text

    if not _looks_like_path(which):
        return PolicyText(builtin_text(which), f"{which}.yaml")
    path = Path(os.path.normpath(Path(origin).parent / which))  # so that each file has one name
    return PolicyText(read_text(path), str(path))


def _looks_like_path(which: str) -> bool:
    return "/" in which or "\\" in which or which.endswith((".yaml", ".yml"))


def read_text(path: Path) -> str:
    """The text of a policy file.

    Raises:
        WorkspaceError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(_LARGEST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise WorkspaceError(
            f"the policy `{path}` cannot be read: {reason}",
            hint="`adaptman policy show default` prints one to begin with",
        ) from error
