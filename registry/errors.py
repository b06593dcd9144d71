"""The errors of the registry.

RegistryError                   exit code 1
├── UnavailableError            the database cannot be reached, opened or written
│   └── ConflictError           other writers kept the database busy for longer than we wait
├── SchemaAgeError              the database has another schema revision than this program
├── NotFoundError               no such row
├── AlreadyExistsError          the name is taken
├── InvalidRecordError          a value that must not be recorded
├── IllegalTransitionError      the version cannot go from this state to that one
├── CollectedError              the version's weights were removed from the store
├── PromotionError              the version cannot become champion
│   ├── NotPassedError          the gate has not passed it
│   ├── StaleDecisionError      it was judged against another champion than today's
│   └── NothingToRollBackError  there is no former champion
└── LeaseError
    ├── LeaseHeldError          somebody else works on the model line
    └── LeaseLostError          the lease expired and was taken over, or was released
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


class RegistryError(Exception):
    """What went wrong and to which thing; `hint` says the way out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnavailableError(RegistryError):
    """The database cannot be reached, opened or written."""


class ConflictError(UnavailableError):
    """Other writers kept the database busy for longer than we wait."""


class SchemaAgeError(RegistryError):
    """The database has another schema revision than this program expects."""

    def __init__(self, found: str | None, expected: str, *, newer: bool = False) -> None:
        said = f"`{found}`" if found else "none"
        self.found = found
        self.expected = expected
        self.command = "adaptman db upgrade"
        super().__init__(
            f"the registry database has schema revision {said}, this program expects `{expected}`",
            hint=_NEWER if newer else f"make a backup of the database, then run `{self.command}`",
        )


_NEWER = (
    "the database was upgraded by a newer adaptman: install that one; "
    "`adaptman db upgrade` of the newer program is what wrote this revision"
)


class NotFoundError(RegistryError):
    """No such row."""

    def __init__(self, what: str, which: object, *, known: Iterable[object] = (), hint: str = "") -> None:
        listed = ", ".join(f"`{one}`" for one in known)
        super().__init__(f"no {what} `{which}`", hint=hint or (f"known: {listed}" if listed else ""))


class AlreadyExistsError(RegistryError):
    """The name is taken."""


class InvalidRecordError(RegistryError):
    """A value that must not be recorded."""


class IllegalTransitionError(RegistryError):
    """The version cannot go from this state to that one."""

    def __init__(self, old: str, new: str, legal: Iterable[str]) -> None:
        moves = ", ".join(f"`{one}`" for one in legal) or "nothing: this state is final"
        super().__init__(
            f"a version in state `{old}` cannot become `{new}`", hint=f"from `{old}` it can become {moves}"
        )


class CollectedError(RegistryError):
    """The version's weights were removed from the store by `adaptman store gc`."""

    def __init__(self, number: int, at: datetime, reason: str) -> None:
        super().__init__(
            f"the weights of version `{number}` were removed by gc on {at:%Y-%m-%d} ({reason})",
            hint="run the same update, or fold, again to make it anew: `adaptman version show "
            f"{number}` tells what it was made from",
        )


class PromotionError(RegistryError):
    """The version cannot become champion."""


class NotPassedError(PromotionError):
    """The gate has not passed the version, and there is no waiver that would do."""


class StaleDecisionError(PromotionError):
    """The version was judged against another champion than today's."""

    def __init__(self, number: int, judged_against: int | None, champion: int | None) -> None:
        self.number, self.judged_against, self.champion = number, judged_against, champion
        was = f"champion version `{judged_against}`" if judged_against else "no champion"
        now = f"version `{champion}` is champion now" if champion else "there is no champion now"
        super().__init__(
            f"version `{number}` was judged against {was}, but {now}",
            hint=f"run the gate again: `adaptman evaluate {number}`",
        )


class NothingToRollBackError(PromotionError):
    """There is no former champion."""


class LeaseError(RegistryError):
    """Something about the lease of a model line."""


class LeaseHeldError(LeaseError):
    """Somebody else works on the model line."""

    def __init__(self, model: str, holder: str, since: datetime, expires: datetime) -> None:
        self.holder, self.since, self.expires = holder, since, expires
        super().__init__(
            f"model `{model}` is held by `{holder}` since {since:%Y-%m-%d %H:%M:%S} UTC",
            hint=f"wait until it ends; if it died, its lease expires at {expires:%H:%M:%S} UTC",
        )


class LeaseLostError(LeaseError):
    """The lease expired and was taken over, or was released."""
