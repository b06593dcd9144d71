"""What a policy asks for at the promotion itself, through real policies, files and a real registry."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from adaptman.errors import GateRefusedError
from adaptman.lifecycle.approve import UnmetConditionsError, approve
from adaptman.lifecycle.promote import RefusedPromotionError, promote, rollback
from adaptman.lifecycle.workspace import Workspace
from policies.errors import PolicyError
from policies.policy import Policy, load_policy
from policies.promotion import conditions
from registry.errors import IllegalTransitionError, NothingToRollBackError, PromotionError
from tests.lifecycle.story import Story, settings, templates


def policy_file(story: Story, promotion: str, name: str = "ours") -> Path:
    path = story.workspace.settings.home.parent / f"{name}.yaml"
    path.write_text(f"name: {name}\nrules: {{}}\npromotion: {promotion}\n")
    return path


def as_actor(story: Story, actor: str, **changes: Any) -> Workspace:
    """The same workspace with somebody else, or another policy, in the settings."""
    home = story.workspace.settings.home
    found = settings(home, **changes).model_copy(update={"actor": actor})
    return Workspace(found, clock=story.clock)


def judge(story: Story, number: int, policy: Policy | None = None, verdict: str = "pass") -> None:
    """Decided under `policy`, which is stored with the decision."""

    def record(writer: Any) -> None:
        version = writer.version(story.model.id, number)
        champion = writer.champion(story.model.id)
        writer.mark_evaluated(version.id)
        writer.record_decision(
            version.id,
            champion_id=champion.id,
            policy_name=policy.name if policy else "default",
            policy_digest=policy.digest if policy else "d" * 64,
            policy=policy.model_dump(mode="json") if policy else None,
            verdict=verdict,
            reasons=[],
            evidence=[],
            warnings=[],
        )

    story.workspace.registry.write(record)


@pytest.fixture
def candidate(begun: Story) -> Story:
    """Version 2, trained by ada@lab and not judged yet."""
    begun.register()
    begun.train(2, parent=1, replay=True, note="")
    return begun


def champion(story: Story) -> int:
    with story.workspace.registry.read() as reader:
        found = reader.champion(story.model.id)
        assert found is not None
        return found.number


def unmet(workspace: Workspace, number: int = 2, **changes: Any) -> UnmetConditionsError:
    """The refusal; nothing has changed by it."""
    with workspace.registry.read() as reader:
        before = len(reader.events())
    with pytest.raises(UnmetConditionsError) as caught:
        promote(workspace, number, **changes)
    with workspace.registry.read() as reader:
        assert len(reader.events()) == before
    assert isinstance(caught.value, GateRefusedError)
    assert caught.value.exit_code == 3
    return caught.value


def test_two_approvals(candidate: Story) -> None:
    policy = policy_file(candidate, "{approvals: 2}")
    judge(candidate, 2)
    ada = as_actor(candidate, "ada@lab", policy=str(policy))
    error = unmet(ada)
    assert error.message == "version `2` may not be promoted yet\n\n  ✗ 2 approvals needed, 0 given"
    assert error.hint == "`adaptman approve 2 --note TEXT`"
    assert approve(ada, 2, "fine").created
    again = approve(ada, 2, "still fine")
    assert (again.created, again.approvers) == (False, ("ada@lab",))
    error = unmet(ada)
    assert "2 approvals needed, 1 given (ada@lab)" in error.message
    assert error.hint == "`adaptman approve 2 --note TEXT` by somebody other than `ada@lab`"
    assert approve(as_actor(candidate, "bob@lab"), 2, "fine").approvers == ("ada@lab", "bob@lab")
    assert promote(ada, 2).version.number == champion(candidate) == 2


def test_four_eyes(candidate: Story) -> None:
    policy = policy_file(candidate, "{approvals: 1, four_eyes: true}")
    judge(candidate, 2)
    ada = as_actor(candidate, "ada@lab", policy=str(policy))
    bob = as_actor(candidate, "bob@lab", policy=str(policy))
    assert approve(ada, 2, "my own work").trained_it
    error = unmet(bob)
    assert "0 given; that of ada@lab, who trained it, does not count" in error.message
    assert "✓ trained by ada@lab, promoted by bob@lab: two people" in error.message
    assert not approve(bob, 2, "fine").trained_it
    error = unmet(ada)
    assert "✗ trained by ada@lab, promoted by ada@lab: the same" in error.message
    assert error.hint == "let somebody other than `ada@lab` promote it"
    assert promote(bob, 2).version.number == 2


def test_nobody_knows_who_trained_it(candidate: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_file(candidate, "{four_eyes: true}")
    judge(candidate, 2)

    def forget(writer: Any) -> None:
        forgotten = "UPDATE model_version SET author = '' WHERE number = 2"
        writer._session.connection().exec_driver_sql(forgotten)

    candidate.workspace.registry.write(forget)
    error = unmet(as_actor(candidate, "bob@lab", policy=str(policy)))
    assert "nobody can tell who did" in error.message
    assert error.hint == "train the update anew"


def test_a_waiver_does_not_override_them(candidate: Story) -> None:
    policy = policy_file(candidate, "{approvals: 1}")
    judge(candidate, 2, verdict="refuse")
    ada = as_actor(candidate, "ada@lab", policy=str(policy))
    with pytest.raises(RefusedPromotionError):
        promote(ada, 2)
    unmet(ada, waiver="needed today")
    assert approve(ada, 2, "I have seen what it breaks").verdict == "refuse"
    assert promote(ada, 2, waiver="needed today").waived


def test_rollback_asks_nobody(candidate: Story) -> None:
    judge(candidate, 2)
    promote(candidate.workspace, 2)
    policy = policy_file(candidate, "{approvals: 9, four_eyes: true, signed: true}")
    assert rollback(as_actor(candidate, "ada@lab", policy=str(policy))).version.number == 1


@pytest.mark.parametrize(("judged_by", "promoted_by"), [(1, 0), (0, 1), (1, 2), (2, 1)])
def test_the_policy_in_force_and_the_one_judged_by_both_count(
    candidate: Story, judged_by: int, promoted_by: int
) -> None:
    judge(candidate, 2, load_policy(policy_file(candidate, f"{{approvals: {judged_by}}}").read_text(), "p"))
    looser = policy_file(candidate, f"{{approvals: {promoted_by}}}", "other")
    for given, actor in enumerate(["ada@lab", "bob@lab"][: max(judged_by, promoted_by)]):
        error = unmet(as_actor(candidate, "ada@lab", policy=str(looser)))
        assert f"{given} given" in error.message
        approve(as_actor(candidate, actor), 2, "fine")
    assert promote(as_actor(candidate, "ada@lab", policy=str(looser)), 2).version.number == 2


def test_a_stored_policy_that_was_edited(candidate: Story) -> None:
    judge(candidate, 2, load_policy("name: x\nrules: {}\npromotion: {approvals: 2}", "p"))

    def loosen(writer: Any) -> None:
        decision = writer.latest_decision(writer.version(candidate.model.id, 2).id)
        writer._session.connection().exec_driver_sql("DROP TRIGGER decision_no_update")
        policy = {**decision.policy, "promotion": {"approvals": 0, "four_eyes": False, "signed": False}}
        loosened = (json.dumps(policy), decision.id)
        writer._session.connection().exec_driver_sql("UPDATE decision SET policy = ? WHERE id = ?", loosened)

    candidate.workspace.registry.write(loosen)
    with pytest.raises(PolicyError, match="is not `"):
        promote(candidate.workspace, 2)
    assert champion(candidate) == 1


def test_nothing_comes_between_the_question_and_the_move(
    candidate: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has the gate judge anew at the very moment at which approvals are counted: they must wait."""
    policy = policy_file(candidate, "{approvals: 1}")
    judge(candidate, 2)
    ada = as_actor(candidate, "ada@lab", policy=str(policy))
    approve(ada, 2, "fine")
    failed: list[Exception] = []

    def judge_again() -> None:
        try:
            judge(candidate, 2)
        except IllegalTransitionError as error:
            failed.append(error)

    other = threading.Thread(target=judge_again)

    def asked(*given: Any) -> Any:
        other.start()
        other.join(0.3)
        assert other.is_alive()
        return conditions(*given)

    monkeypatch.setattr("policies.promotion.conditions", asked)
    promote(ada, 2)
    other.join()
    assert len(failed) == 1  # by then it was champion
    with candidate.workspace.registry.read() as reader:
        assert reader.moves(candidate.model.id)[-1].decision_id == reader.decisions(2)[-1].id


PEOPLE = ("ada@lab", "bob@lab", "cy@lab")
WHO = st.sampled_from(PEOPLE)
NUMBERS = st.integers(2, 5)


class Approvals(RuleBasedStateMachine):
    """Anybody trains, approves and promotes; a plain model says who may have become champion."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="adaptman-approvals-"))
        self.story = Story.copy(templates().begun, self.folder)
        policy = str(policy_file(self.story, "{approvals: 1, four_eyes: true}"))
        self.desks = {who: as_actor(self.story, who, policy=policy) for who in PEOPLE}
        self.trainer: dict[int, str] = {}
        self.approved: dict[int, set[str]] = {}
        self.verdict: dict[int, str] = {}
        self.champions = [1]
        self.against: dict[int, int] = {}

    def teardown(self) -> None:
        for desk in [*self.desks.values(), self.story.workspace]:
            desk.close()
        shutil.rmtree(self.folder)

    @initialize(who=WHO)
    def begin(self, who: str) -> None:
        self.train(who)
        self.judge(2, "pass")

    @rule(who=WHO)
    def train(self, who: str) -> None:
        number = len(self.trainer) + 2
        if number > 5:
            return

        def record(writer: Any) -> None:
            version = writer.start_version(
                self.story.model.id, parent_id=None, base_digest="b" * 64, recipe={}, recipe_digest="r" * 64,
                tool_schema_id=None, output_format_id=None, example_set_id=None,
            )  # fmt: skip
            adapter = writer.add_adapter(tree_digest=f"{number}" * 64, size_bytes=1)
            writer.finish_training(
                version.id, adapter_id=adapter.id, replay_set_id=None, curves_digest=None, summary={}
            )

        self.desks[who].registry.write(record)
        self.trainer[number] = who

    @rule(number=NUMBERS, verdict=st.sampled_from(["pass", "refuse"]))
    def judge(self, number: int, verdict: str) -> None:
        if number not in self.trainer or number in self.champions:
            return
        judge(self.story, number, verdict=verdict)
        self.verdict[number], self.approved[number] = verdict, set()
        self.against[number] = self.champions[-1]

    @rule(who=WHO, number=NUMBERS)
    def approve(self, who: str, number: int) -> None:
        if number not in self.trainer:
            return
        may = number in self.verdict and number not in self.champions
        try:
            done = approve(self.desks[who], number, "fine")
        except PromotionError:
            assert not may
            return
        assert may
        assert done.created == (who not in self.approved[number])
        self.approved[number].add(who)
        assert set(done.approvers) == self.approved[number]

    @rule(who=WHO, number=NUMBERS, waiver=st.sampled_from([None, "needed"]))
    def promote(self, who: str, number: int, waiver: str | None) -> None:
        if number not in self.trainer:
            return
        judged = self.verdict.get(number) == "pass" or (waiver and self.verdict.get(number) == "refuse")
        fresh = self.against.get(number) == self.champions[-1] and number not in self.champions
        others = self.approved.get(number, set()) - {self.trainer[number]}
        try:
            promote(self.desks[who], number, waiver=waiver)
        except UnmetConditionsError:
            assert judged
            assert fresh
            assert not others or who == self.trainer[number]
        except (PromotionError, RefusedPromotionError):
            assert not (judged and fresh)
        else:
            assert judged
            assert fresh
            assert others
            assert who != self.trainer[number]
            self.champions.append(number)

    @rule(who=WHO)
    def rollback(self, who: str) -> None:
        try:
            number = rollback(self.desks[who]).version.number
        except NothingToRollBackError:
            assert len(self.champions) == 1
        else:
            assert number == self.champions[-2]
            self.champions.append(number)

    @invariant()
    def the_champion_is_the_models(self) -> None:
        assert champion(self.story) == self.champions[-1]
        with self.story.workspace.registry.read() as reader:
            assert reader.verify_chain().ok


TestApprovals = Approvals.TestCase
TestApprovals.settings = hypothesis_settings(max_examples=12, stateful_step_count=15, deadline=None)
