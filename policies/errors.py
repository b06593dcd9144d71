"""The error a policy raises: a file that cannot be read as a policy, or a record that is not a decision."""

from __future__ import annotations


class PolicyError(Exception):
    """What is wrong with the policy and where; `hint` says the way out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
