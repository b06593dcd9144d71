"""Approvals, signatures and manifests, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from registry.errors import InvalidRecordError, NotFoundError, NotPassedError
from registry.registry import Registry
from registry.states import VersionState
from registry.tables import Approval, ModelVersion, Signature
from registry.values import Registered
from tests.registry.line import Line, digest, everything, fill, finish, judge, start
from tests.registry.test_concurrency import at_once, attempt


def by(url: str, line: Line, actor: str) -> Registry:
    return Registry.open(url, actor=actor, clock=line.clock)


def approve(registry: Registry, version: ModelVersion, note: str = "looks right") -> Registered[Approval]:
    return registry.write(lambda writer: writer.approve(version.id, note))


def sign(line: Line, version: ModelVersion, envelope: str = "{}") -> Registered[Signature]:
    return line.registry.write(
        lambda writer: writer.add_signature(version.id, key_id=digest("key"), envelope=envelope)
    )


def approvers(line: Line, version: ModelVersion) -> list[str]:
    with line.registry.read() as reader:
        decision = reader.latest_decision(version.id)
        assert decision is not None
        return [one.actor for one in reader.approvals(decision)]


def manifest(line: Line, version: ModelVersion) -> dict[str, Any]:
    with line.registry.read() as reader:
        return reader.manifest(reader.version_by_id(version.id))


@pytest.mark.parametrize("verdict", ["pass", "refuse"])
def test_an_approval_is_recorded_in_full(url: str, line: Line, verdict: str) -> None:
    version = line.judged(verdict)
    done = approve(line.registry, version, "  read the outputs  ")
    with line.registry.read() as reader:
        event, decision = reader.events()[-1], reader.latest_decision(version.id)
    assert decision is not None
    assert (done.created, done.row.actor, done.row.note) == (True, "ada", "read the outputs")
    assert (done.row.version_id, done.row.decision_id, done.row.event_seq, done.row.at) == (
        version.id, decision.id, event.seq, event.at,
    )  # fmt: skip
    assert (event.kind, event.subject, event.actor) == ("version.approved", "version/default/2", "ada")
    assert event.payload == {"decision_id": decision.id, "verdict": verdict, "note": "read the outputs"}


def test_the_same_actor_counts_once(url: str, line: Line) -> None:
    version = line.judged()
    first = approve(line.registry, version)
    with line.registry.read() as reader:
        before = everything(reader)
    again = approve(line.registry, version, "another note")
    assert (again.created, again.row) == (False, first.row)
    with line.registry.read() as reader:
        assert everything(reader) == before
    other = by(url, line, "bob")
    assert approve(other, version).created
    other.close()
    assert approvers(line, version) == ["ada", "bob"]


def test_a_new_decision_needs_new_approvals(line: Line) -> None:
    version = line.judged()
    approve(line.registry, version)
    line.registry.write(lambda writer: judge(writer, writer.version_by_id(version.id)))
    assert approvers(line, version) == []
    assert approve(line.registry, version).created
    assert approvers(line, version) == ["ada"]


def unapprovable(line: Line) -> dict[str, ModelVersion]:
    """A version in each state that awaits no promotion."""

    def made(end: Callable[[Any, ModelVersion], object]) -> ModelVersion:
        version = line.judged()
        line.registry.write(lambda writer: end(writer, writer.version_by_id(version.id)))
        return version

    line.promoted()
    with line.registry.read() as reader:
        champion = reader.champion(line.id)
        retired = reader.version(line.id, 1)
    assert champion is not None
    return {
        "training": line.registry.write(lambda writer: start(writer, line.id)),
        "trained": line.registry.write(lambda writer: finish(writer, start(writer, line.id))),
        "evaluated": made(lambda writer, version: writer.mark_evaluated(version.id)),
        "discarded": made(lambda writer, version: writer.discard_version(version.id, "no")),
        "failed": line.registry.write(lambda w: w.fail_version(start(w, line.id).id, "died")),
        "champion": champion,
        "retired": retired,
    }


def test_what_awaits_no_promotion_cannot_be_approved(line: Line) -> None:
    versions = unapprovable(line)
    assert set(versions) | {"passed", "refused"} == set(VersionState)
    with line.registry.read() as reader:
        before = everything(reader)
    for state, version in versions.items():
        assert line.state(version.number) == state
        with pytest.raises(NotPassedError) as caught:
            approve(line.registry, version)
        assert f"`{version.number}`" in caught.value.message
        assert caught.value.hint
    with line.registry.read() as reader:
        assert everything(reader) == before


@pytest.mark.parametrize("note", ["", " \n", "nul\x00", "half \ud800"])
def test_a_note_that_is_none(line: Line, note: str) -> None:
    version = line.judged()
    with pytest.raises(InvalidRecordError):
        approve(line.registry, version, note)
    assert approvers(line, version) == []


def test_approving_what_is_not_there(line: Line) -> None:
    with pytest.raises(NotFoundError):
        line.registry.write(lambda writer: writer.approve(99, "fine"))


def test_an_approval_at_the_same_moment_counts_once(
    open_registry: Callable[[], Registry], line: Line
) -> None:
    version = line.judged()
    answers = at_once(open_registry, lambda registry, _: approve(registry, version).created)
    assert sum(answers) == 1
    assert approvers(line, version) == ["ada"]


def test_promotions_count_the_approvals_that_stand_when_they_move(
    open_registry: Callable[[], Registry], line: Line
) -> None:
    """Half of the threads take their approval away by a new decision, half promote if they see one."""
    version = line.judged()
    approve(line.registry, version)

    def promote(registry: Registry) -> int:
        def work(writer: Any) -> int:
            done = writer.promote(line.id, version.number)
            if not writer.approvals(done.decision):
                raise NotPassedError("nobody has approved it")
            return int(done.decision.id)

        return registry.write(work)

    def judge_again(registry: Registry) -> int:
        return registry.write(lambda writer: judge(writer, writer.version_by_id(version.id))).id

    def either(registry: Registry, place: int) -> object:
        return attempt(lambda: (promote if place % 2 else judge_again)(registry))

    answers = at_once(open_registry, either)
    with line.registry.read() as reader:
        moves = reader.moves(line.id)
        decision = reader.latest_decision(version.id)
        assert reader.verify_chain().ok
        assert decision is not None
        if len(moves) == 2:  # it was promoted, by the decision that had been approved
            assert [one.actor for one in reader.approvals(decision)] == ["ada"]
            assert moves[-1].decision_id == decision.id
        else:
            assert reader.approvals(decision) == []
    assert len([one for one in answers[1::2] if isinstance(one, int)]) == len(moves) - 1


def test_a_signature_is_recorded_in_full(line: Line) -> None:
    version = line.judged()
    done = sign(line, version, '{"payload": "e30="}')
    with line.registry.read() as reader:
        event, rows = reader.events()[-1], reader.signatures(version.id)
    assert rows == [done.row]
    assert (done.created, done.row.key_id, done.row.actor) == (True, digest("key"), "ada")
    assert (event.kind, event.seq, event.payload) == (
        "version.signed",
        done.row.event_seq,
        {"key": digest("key")},
    )


def test_the_same_signature_again_records_nothing(line: Line) -> None:
    version = line.judged()
    first = sign(line, version)
    with line.registry.read() as reader:
        before = everything(reader)
    assert sign(line, version) == Registered(first.row, created=False)
    with line.registry.read() as reader:
        assert everything(reader) == before
    assert sign(line, version, "{ }").created


def test_a_version_without_weights_is_not_signed(line: Line) -> None:
    version = line.registry.write(lambda writer: start(writer, line.id))
    with pytest.raises(InvalidRecordError, match="`training`"):
        sign(line, version)


def test_the_manifest_names_everything(line: Line) -> None:
    version = line.registry.write(lambda writer: fill(writer, line.id))
    found = manifest(line, version)
    build = found["build"]
    assert {name for name, value in build.items() if value is None} == set()
    assert build["adapter"] == digest(f"adapter {version.id}")
    assert build["tool_schema"] == {
        "number": 1, "contract": digest("contract tools"), "document": digest("document tools"),
    }  # fmt: skip
    assert build["output_format"] == {"name": "hermes", "version": 1, "digest": digest("hermes")}
    assert (build["examples"], build["replay"]) == (digest("examples"), digest("replay"))
    assert (build["version"], build["author"], build["recipe"]) == (2, "ada", digest("recipe"))


def test_a_new_decision_changes_the_decision_and_not_the_build(line: Line) -> None:
    version = line.registry.write(lambda writer: finish(writer, start(writer, line.id)))
    unjudged = manifest(line, version)
    assert unjudged["decision"] is None
    seen = {None}
    for verdict in ("pass", "refuse", "refuse"):
        line.registry.write(lambda w, verdict=verdict: judge(w, w.version_by_id(version.id), verdict))
        found = manifest(line, version)
        assert found["build"] == unjudged["build"]
        assert found["decision"] not in seen
        seen.add(found["decision"])


def test_a_parent_judged_anew_leaves_its_children_as_they_are(line: Line) -> None:
    parent = line.judged()
    child = line.registry.write(lambda w: finish(w, start(w, line.id, parent_id=parent.id)))
    before = manifest(line, child)
    line.registry.write(lambda writer: judge(writer, writer.version_by_id(parent.id), "refuse"))
    assert manifest(line, child) == before


TAMPERED = [
    "UPDATE model_version SET recipe_digest = 'x' WHERE number = 2",
    "UPDATE model_version SET author = 'eve' WHERE number = 2",
    "UPDATE model_version SET base_digest = 'x' WHERE number = 1",
    "UPDATE adapter SET tree_digest = 'x'",
    "UPDATE example_set SET object_digest = 'x'",
    "UPDATE replay_set SET object_digest = 'x'",
    "UPDATE tool_schema SET contract_digest = 'x'",
    "UPDATE tool_schema SET document_digest = 'x'",
    "UPDATE output_format SET digest = 'x'",
    "UPDATE decision SET verdict = 'x'",
    "UPDATE decision SET reasons = '[]'",
    "UPDATE decision SET evidence = '{}'",
    "UPDATE decision SET policy_digest = 'x'",
    "UPDATE decision SET actor = 'eve'",
    "UPDATE model_version SET parent_id = id WHERE number = 2",
]


def test_every_edited_row_changes_the_manifest(own_url: str, kind: str, clock: Any) -> None:
    registry = Registry.open(own_url, actor="ada", clock=clock)
    line = Line(registry, clock)
    version = registry.write(lambda writer: fill(writer, line.id))
    whole = manifest(line, version)
    for statement in TAMPERED:
        engine = create_engine(own_url)
        with engine.connect() as connection, connection.begin() as edit:
            if kind == "postgresql":
                connection.execute(text("SET session_replication_role = replica"))
            else:
                _drop_trigger(connection, statement.split()[1])
            connection.execute(text(statement))
            from sqlmodel import Session

            from registry.reader import Reader

            with Session(connection) as session:
                reader = Reader(session)
                assert reader.manifest(reader.version_by_id(version.id)) != whole, statement
                session.expunge_all()
            edit.rollback()
        engine.dispose()
    assert manifest(line, version) == whole
    registry.close()


def _drop_trigger(connection: Any, table: str) -> None:
    connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_update"))
