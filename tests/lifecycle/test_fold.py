"""A version folded into a checkpoint of its own: the same model, with an empty adapter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptman.errors import ModelError, TrainingError
from adaptman.learning import models
from adaptman.lifecycle import engine, fold
from adaptman.lifecycle.doctor import examine
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.examples import learned_examples
from adaptman.lifecycle.export import export_version
from adaptman.lifecycle.fold import TOLERANCE, fold_version
from adaptman.lifecycle.history import history
from adaptman.lifecycle.promote import promote, rollback
from adaptman.lifecycle.replay import earlier_examples
from adaptman.lifecycle.reproduce import reproduce_version
from adaptman.lifecycle.schema import register_schema
from adaptman.lifecycle.store_gc import collect_garbage
from adaptman.lifecycle.store_verify import verify_store
from adaptman.lifecycle.verdicts import retry_decisions
from adaptman.lifecycle.versions import discard_version, version_lineage
from policies.policy import Policy, load_policy
from registry.errors import CollectedError
from registry.tables import ModelVersion
from registry.writer import Writer
from tests.lifecycle.story import SECOND_TOOLS, document
from tests.lifecycle.tiny_line import CANDIDATE, SECOND_EXAMPLES, TinyLine, lines

ROWS = [[1, 5, 9, 2, 7], [3, 3, 8]]
GAIN = """
name: gain
rules:
  target: {gain: 0.5}
  general: {margin: 1}
"""
FOLD = CANDIDATE + 1


@pytest.fixture
def promoted(updated: TinyLine) -> TinyLine:
    """Version 2 is champion."""
    promote(updated.workspace, CANDIDATE, waiver="to go on")
    return updated


def logits(line: TinyLine, version: ModelVersion) -> list[torch.Tensor]:
    workspace = line.workspace
    return models.logits_of(
        engine.base_path(workspace, version), engine.adapter_path(workspace, version), ROWS
    )


def test_the_same_model_without_an_adapter(promoted: TinyLine) -> None:
    done = fold_version(promoted.workspace)
    version, source = promoted.version(FOLD), promoted.version()
    assert (done.created, done.source, done.version) == (True, CANDIDATE, version)
    assert (version.state, version.adapter_id, version.recipe) == ("trained", None, None)
    assert version.base_digest != source.base_digest
    assert version.parent_id == source.id
    taught = ("tool_schema_id", "output_format_id", "rendering_digest")
    assert [getattr(version, name) for name in taught] == [getattr(source, name) for name in taught]
    before, after = logits(promoted, source), logits(promoted, version)
    assert models.largest_difference(before, after) < 1e-5
    assert models.largest_difference(before, logits(promoted, promoted.version(1))) > 1e-5
    assert done.proof.largest_difference <= TOLERANCE
    assert (done.proof.probes, done.proof.tokens) == (3, 3 * fold.PROBE_TOKENS)
    assert promoted.events()[-1] == "version.folded"
    assert promoted.held_by() == []
    assert list((promoted.workspace.settings.home / "tmp").iterdir()) == []


def test_once_is_enough(promoted: TinyLine) -> None:
    first = fold_version(promoted.workspace)
    events = promoted.events()
    again = fold_version(promoted.workspace, CANDIDATE)
    assert (again.created, again.version.number, again.proof) == (False, FOLD, first.proof)
    assert promoted.events() == events
    discard_version(promoted.workspace, FOLD, "unwanted")
    anew = fold_version(promoted.workspace)
    assert (anew.created, anew.version.number) == (True, FOLD + 1)
    assert anew.version.base_digest == first.version.base_digest


@pytest.fixture
def strict(promoted: TinyLine) -> Iterator[TinyLine]:
    """A policy asks for a gain."""
    path = promoted.folder / "gain.yaml"
    path.write_text(GAIN)
    line = TinyLine.at(promoted.folder, promoted.clock, policy=str(path))
    yield line
    line.workspace.close()


def test_over_the_champion_itself_no_gain_is_asked(strict: TinyLine) -> None:
    fold_version(strict.workspace)
    done = evaluate(strict.workspace, FOLD, stop_early=True)
    assert done.decision is not None
    assert done.decision.passed
    assert {reason.rule for reason in done.decision.reasons} == {"cases", "margin"}
    for before, after in zip(
        *(evaluate(strict.workspace, at).results for at in (CANDIDATE, FOLD)), strict=True
    ):
        assert [one.output for one in before.outcomes] == [one.output for one in after.outcomes]
    policy = load_policy(GAIN, "gain.yaml")
    assert [one.changed for one in retry_decisions(strict.workspace, policy) if one.number == FOLD] == [False]
    promote(strict.workspace, FOLD)
    assert rollback(strict.workspace).version.number == CANDIDATE


def test_over_another_champion_it_must_show_a_gain(strict: TinyLine) -> None:
    rollback(strict.workspace)
    fold_version(strict.workspace, CANDIDATE)
    done = evaluate(strict.workspace, FOLD)
    assert done.decision is not None
    assert "gain" in {reason.rule for reason in done.decision.reasons if not reason.passed}


def test_no_gain_is_all_that_is_taken_away() -> None:
    own = "overrides:\n  hard: {floor: 0.5, gain: 0.1}\n"
    policy = load_policy(GAIN + own, "gain.yaml")
    changed = policy.without_gain()
    rule = changed.rule_for("hard", "target")
    assert rule is not None
    assert (rule.floor, rule.gain, rule.missing) == (0.5, None, "refuse")
    assert changed.rule_for("any", "general") == policy.rule_for("any", "general")
    assert changed.digest != policy.digest
    assert Policy.model_validate(changed.model_dump(mode="json")).digest == changed.digest
    assert changed.without_gain().digest == changed.digest


def second_tools(line: TinyLine) -> None:
    register_schema(line.workspace, document(SECOND_TOOLS), "tools-2.json")
    (line.folder / "examples-2.jsonl").write_text(lines(SECOND_EXAMPLES))


def test_updates_go_on_from_it_with_an_empty_adapter(promoted: TinyLine) -> None:
    fold_version(promoted.workspace)
    promote_unjudged(promoted)
    second_tools(promoted)
    plan = promoted.plan(2, lora__rank="4", replay__kind="exemplar", replay__share="1")
    assert [one.update for one in earlier_examples(promoted.workspace, plan)] == [CANDIDATE]
    done = promoted.update(2, lora__rank="4", replay__kind="exemplar", replay__share="1")
    version, folded = done.version, promoted.version(FOLD)
    assert (version.parent_id, version.base_digest) == (folded.id, folded.base_digest)
    adapter = engine.adapter_path(promoted.workspace, version)
    assert adapter is not None
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == 4
    # What came before the fold is still an ancestor.
    assert {number for number, _ in learned_examples(promoted.workspace, version)} == {CANDIDATE, FOLD + 1}
    chain = version_lineage(promoted.workspace, FOLD + 1).chain
    assert [one.row.number for one in chain] == [1, CANDIDATE, FOLD, FOLD + 1]
    assert [one.number for one in history(promoted.workspace).versions] == [1, CANDIDATE, FOLD, FOLD + 1]
    assert reproduce_version(promoted.workspace, FOLD + 1).identical
    # The adapter is of no use without the checkpoint that it was trained on.
    assert export_version(promoted.workspace, FOLD + 1, promoted.folder / "out", merged=False).base == FOLD
    base = engine.load_base(promoted.workspace, version).model.state_dict()
    original = engine.load_version(promoted.workspace, promoted.version(1)).model.state_dict()
    assert all(torch.equal(base[name], original[name]) for name in original)


def promote_unjudged(line: TinyLine) -> None:
    """The tiny model passes no policy."""
    evaluate(line.workspace, FOLD)
    promote(line.workspace, FOLD, waiver="the tiny model is no good")


def test_folded_twice(promoted: TinyLine) -> None:
    fold_version(promoted.workspace)
    promote_unjudged(promoted)
    second_tools(promoted)
    promoted.update(2, replay__chat="2", replay__tools="1", replay__irrelevant="0")
    done = fold_version(promoted.workspace, FOLD + 1)
    before, after = logits(promoted, promoted.version(FOLD + 1)), logits(promoted, done.version)
    assert models.largest_difference(before, after) < 1e-5
    assert done.proof.probes == 5


def test_folded_once_more(promoted: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    version = fold_version(promoted.workspace).version
    done = reproduce_version(promoted.workspace, FOLD)
    assert (done.identical, done.weights.now, done.replay) == (True, version.base_digest, None)
    monkeypatch.setattr(models, "export_merged", no_adapter(models.export_merged))
    monkeypatch.setattr(fold, "TOLERANCE", 1.0)
    done = reproduce_version(promoted.workspace, FOLD)
    assert done.difference is not None
    assert "is not reproduced: the weights made now are others, by at most" in done.told
    assert len(promoted.versions()) == FOLD


def no_adapter(merged: Callable[..., None]) -> Callable[..., None]:
    """As if the adapter were left out."""
    return lambda base, adapter, target: merged(base, None, target)


def test_exported_whole(promoted: TinyLine) -> None:
    fold_version(promoted.workspace)
    target = promoted.folder / "whole"
    export_version(promoted.workspace, FOLD, target, merged=True)
    model = AutoModelForCausalLM.from_pretrained(target)
    with torch.inference_mode():
        found = [model(input_ids=torch.tensor([row])).logits[0] for row in ROWS]
    assert models.largest_difference(found, logits(promoted, promoted.version())) < 1e-5
    with pytest.raises(ModelError, match="has no adapter"):
        export_version(promoted.workspace, FOLD, promoted.folder / "adapter", merged=False)


def test_a_fold_that_computes_otherwise_is_refused(
    promoted: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = promoted.events()
    monkeypatch.setattr(models, "export_merged", no_adapter(models.export_merged))
    monkeypatch.setattr(fold, "TOLERANCE", 1e-6)
    with pytest.raises(ModelError, match=r"differs by .* in a logit") as told:
        fold_version(promoted.workspace)
    assert told.value.hint
    assert promoted.events() == events
    assert list((promoted.workspace.settings.home / "tmp").iterdir()) == []


def test_not_a_number_is_no_proof() -> None:
    assert not models.largest_difference([torch.zeros(1, 2)], [torch.tensor([[0.0, torch.nan]])]) <= TOLERANCE


@pytest.mark.parametrize("number", [1, FOLD])
def test_nothing_to_fold(promoted: TinyLine, number: int) -> None:
    fold_version(promoted.workspace)
    with pytest.raises(ModelError, match="has no adapter: there is nothing to fold"):
        fold_version(promoted.workspace, number)


def test_a_version_that_came_to_nothing(filled: TinyLine) -> None:
    with pytest.raises(TrainingError):
        filled.update(lr="1e30", max_grad_norm="1e30")
    with pytest.raises(ModelError, match="it has no weights"):
        fold_version(filled.workspace, CANDIDATE)


def rest(line: TinyLine, days: float) -> None:
    """MLflow knows it all, and nothing happens for so long."""

    def tell(writer: Writer) -> None:
        for row in writer.outbox_pending(None):
            writer.outbox_done(row.id, {})

    line.workspace.registry.write(tell)
    store = line.workspace.store
    for one in store.objects():
        os.utime(store.path_of(one.digest), (line.clock.now.timestamp(),) * 2)
    line.clock.forward(days=days)


def test_gc_lets_go_of_a_checkpoint_as_it_does_of_an_adapter(promoted: TinyLine, tmp_path: Path) -> None:
    workspace = promoted.workspace
    version = fold_version(workspace).version
    discard_version(workspace, FOLD, "unwanted")
    rest(promoted, days=8)
    done = collect_garbage(workspace)
    # The weights and the manifest; the other files are those of the base.
    assert done.objects == 2, done.plan
    assert done.size > 10_000
    assert verify_store(workspace).ok
    with pytest.raises(CollectedError, match="the weights of version `3` were removed by gc"):
        export_version(workspace, FOLD, tmp_path / "out", merged=True)
    engine.load_version(workspace, promoted.version())
    promoted.clock.forward(minutes=1)
    anew = fold_version(workspace)
    assert (anew.version.number, anew.version.base_digest) == (FOLD + 1, version.base_digest)
    # It is there again, for the discarded version as well.
    export_version(workspace, FOLD, tmp_path / "out", merged=True)


def test_gc_keeps_a_checkpoint_that_an_adapter_stands_on(promoted: TinyLine) -> None:
    fold_version(promoted.workspace)
    promote_unjudged(promoted)
    second_tools(promoted)
    promoted.update(2)
    rollback(promoted.workspace)
    rest(promoted, days=5000)
    collect_garbage(promoted.workspace)
    engine.base_path(promoted.workspace, promoted.version(FOLD + 1))


def test_doctor_looks_at_the_champions_own_checkpoint(promoted: TinyLine) -> None:
    version = fold_version(promoted.workspace).version
    promote_unjudged(promoted)
    store = promoted.workspace.store
    path = store.path_of(store.tree(version.base_digest)["model.safetensors"].sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = examine(promoted.workspace.settings, clock=promoted.clock)
    (finding,) = [one for one in found if one.check == "champion"]
    assert finding.status == "fail"
