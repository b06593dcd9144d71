"""The states of a model version, and the moves between them, as data."""

from __future__ import annotations

from enum import StrEnum

from registry.errors import IllegalTransitionError


class VersionState(StrEnum):
    """Where a version stands on its way to being the champion."""

    TRAINING = "training"
    TRAINED = "trained"
    EVALUATED = "evaluated"
    PASSED = "passed"
    REFUSED = "refused"
    CHAMPION = "champion"
    RETIRED = "retired"
    FAILED = "failed"
    DISCARDED = "discarded"


S = VersionState

# `refused -> champion` needs a waiver and `retired -> champion` is a rollback: the writer asks for those.
# `evaluated -> evaluated` lets an evaluation that died before its decision run again.
TRANSITIONS: dict[VersionState, frozenset[VersionState]] = {
    S.TRAINING: frozenset({S.TRAINED, S.FAILED, S.DISCARDED}),
    S.TRAINED: frozenset({S.EVALUATED, S.FAILED, S.DISCARDED}),
    S.EVALUATED: frozenset({S.EVALUATED, S.PASSED, S.REFUSED, S.DISCARDED}),
    S.PASSED: frozenset({S.CHAMPION, S.EVALUATED, S.DISCARDED}),
    S.REFUSED: frozenset({S.CHAMPION, S.EVALUATED, S.DISCARDED}),
    S.CHAMPION: frozenset({S.RETIRED}),
    S.RETIRED: frozenset({S.CHAMPION}),
    S.FAILED: frozenset({S.DISCARDED}),
    S.DISCARDED: frozenset(),
}

# States in which a version has weights that can be run and scored.
RUNNABLE: frozenset[VersionState] = frozenset(
    {S.TRAINED, S.EVALUATED, S.PASSED, S.REFUSED, S.CHAMPION, S.RETIRED}
)


def legal_moves(state: VersionState) -> tuple[VersionState, ...]:
    """The states that `state` can go to, in the order in which the enumeration names them."""
    return tuple(one for one in VersionState if one in TRANSITIONS[state])


def check_transition(old: VersionState, new: VersionState) -> None:
    """Refuse a move that is not in the table.

    Raises:
        IllegalTransitionError: its hint names the legal moves.
    """
    if new not in TRANSITIONS[old]:
        raise IllegalTransitionError(old, new, legal_moves(old))
