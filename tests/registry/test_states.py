"""The transition table, pair by pair."""

from __future__ import annotations

from itertools import product

import pytest

from registry.errors import IllegalTransitionError
from registry.states import RUNNABLE, TRANSITIONS, VersionState, check_transition, legal_moves

LEGAL = {
    "training": "trained failed discarded",
    "trained": "evaluated failed discarded",
    "evaluated": "evaluated passed refused discarded",
    "passed": "champion evaluated discarded",
    "refused": "champion evaluated discarded",
    "champion": "retired",
    "retired": "champion",
    "failed": "discarded",
    "discarded": "",
}
PAIRS = list(product(VersionState, VersionState))


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[f"{old}-{new}" for old, new in PAIRS])
def test_each_pair(old: VersionState, new: VersionState) -> None:
    if new in LEGAL[old].split():
        check_transition(old, new)
        return
    with pytest.raises(IllegalTransitionError) as caught:
        check_transition(old, new)
    assert caught.value.message == f"a version in state `{old}` cannot become `{new}`"
    for one in legal_moves(old):
        assert f"`{one}`" in caught.value.hint


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(VersionState)


def test_a_final_state_says_so() -> None:
    with pytest.raises(IllegalTransitionError) as caught:
        check_transition(VersionState.DISCARDED, VersionState.TRAINED)
    assert "final" in caught.value.hint


def test_every_state_can_be_reached() -> None:
    reached = {VersionState.TRAINING}
    for _ in VersionState:
        reached |= {new for old in reached for new in TRANSITIONS[old]}
    assert reached == set(VersionState)


def test_what_can_be_scored_has_weights() -> None:
    assert set(VersionState) - RUNNABLE == {
        VersionState.TRAINING,
        VersionState.FAILED,
        VersionState.DISCARDED,
    }
