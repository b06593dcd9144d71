"""Promotion as a use case; the command line's tests show what it prints."""

from __future__ import annotations

import pytest

from adaptman.lifecycle.promote import RefusedPromotionError, promote, reason_lines
from registry.errors import NotFoundError, NotPassedError, PromotionError
from tests.lifecycle.story import Story


def test_a_refusal_carries_the_stored_decision(told: Story) -> None:
    with pytest.raises(RefusedPromotionError) as raised:
        promote(told.workspace, 2)
    assert (raised.value.number, raised.value.decision.verdict, raised.value.exit_code) == (2, "refuse", 3)
    assert "not shown to be non-inferior" in raised.value.message
    assert "adaptman promote 2 --waive" in raised.value.hint


def test_a_version_that_was_not_judged_is_no_refusal(begun: Story) -> None:
    begun.register()
    begun.train(2, parent=1, replay=True, note="")
    with pytest.raises(NotPassedError):
        promote(begun.workspace, 2)


def test_the_champion_itself(told: Story) -> None:
    with pytest.raises(PromotionError, match="is champion already"):
        promote(told.workspace, 3)


def test_no_such_version(told: Story) -> None:
    with pytest.raises(NotFoundError):
        promote(told.workspace, 9)


def test_failed_reasons_first_in_their_order() -> None:
    reasons = [{"passed": at % 2 == 0, "text": str(at)} for at in range(4)]
    assert reason_lines(reasons) == ["  ✗ 1", "  ✗ 3", "  ✓ 0", "  ✓ 2"]
