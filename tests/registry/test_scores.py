"""Suite runs, outcomes and history, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from registry.errors import InvalidRecordError
from registry.registry import Registry
from registry.values import CaseScore, Outcome
from registry.writer import Writer
from tests.registry.line import Line, add_suite, audit_capacity, digest, finish, judged, score, start


@contextmanager
def counted(registry: Registry) -> Iterator[list[str]]:
    """The SELECTs that are sent meanwhile."""
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            sent.append(statement)

    engine: Engine = registry._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_run_is_recorded_with_its_outcomes(registry: Registry, line: Line) -> None:
    outcomes = [Outcome(f"case {n % 7}-{n}", n / 500) for n in range(500)]

    def work(writer: Writer) -> int:
        return score(writer, judged(writer, line.id), add_suite(writer, line.id), outcomes).id

    run_id = registry.write(work)
    with registry.read() as reader:
        assert reader.outcomes(run_id) == outcomes
        version = reader.version(line.id, 2)
        run = reader.latest_suite_run(version.id, digest("suite general"))
        assert run is not None
        assert reader.suite_runs(version.id) == [run]
        (told,) = reader.outbox_rows("suite_run.recorded")
    assert (run.id, run.n, run.environment) == (run_id, 500, {"torch": "2.13.0"})
    expected = {
        "model": "default",
        "version": 2,
        "suite": "general",
        "kind": "general",
        "suite_digest": digest("suite general"),
        "metric": "accuracy",
        "n": 500,
        "value": run.value,
        "duration_s": 1.5,
    }
    assert expected.items() <= told.payload.items()


def test_running_again_adds_a_row(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> list[int]:
        version, suite = judged(writer, line.id), add_suite(writer, line.id)
        return [score(writer, version, suite).id for _ in range(3)]

    runs = registry.write(work)
    with registry.read() as reader:
        version = reader.version(line.id, 2)
        assert [one.id for one in reader.suite_runs(version.id)] == runs
        latest = reader.latest_suite_run(version.id, digest("suite general"))
        assert latest is not None
        assert latest.id == runs[-1]
        assert reader.latest_suite_run(version.id, digest("another")) is None


def test_the_champion_can_be_scored(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        score(writer, writer.version(line.id, 1), add_suite(writer, line.id))

    registry.write(work)
    assert line.state(1) == "champion"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"value": float("nan")}, "`value` is `nan`"),
        ({"low": float("-inf")}, "`low` is `-inf`"),
        ({"n": 3}, "`n` is `3`, but there are `2` outcomes"),
        ({"outcomes": [Outcome("a", 1.0), Outcome("a", 0.0)]}, "case `a` occurs twice"),
        ({"outcomes": [Outcome("a", float("nan")), Outcome("b", 0.0)]}, "score of case a"),
        ({"environment": {"x": object()}}, "JSON"),
    ],
)
def test_what_cannot_be_a_run_is_refused(
    registry: Registry, line: Line, changes: dict[str, Any], told: str
) -> None:
    def work(writer: Writer) -> None:
        score(writer, writer.version(line.id, 1), add_suite(writer, line.id), **changes)

    with pytest.raises(InvalidRecordError, match=told):
        registry.write(work)


def test_a_version_without_weights_cannot_be_scored(registry: Registry, line: Line) -> None:
    with pytest.raises(InvalidRecordError, match="version `2` is `training`"):
        registry.write(lambda writer: score(writer, start(writer, line.id), add_suite(writer, line.id)))


def test_a_suite_of_another_line_is_refused(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")
    suite = registry.write(lambda writer: add_suite(writer, other.id))
    with pytest.raises(InvalidRecordError, match="`general` belongs to another model line"):
        registry.write(lambda writer: score(writer, finish(writer, start(writer, line.id)), suite))


def test_how_one_case_fared(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        suite = add_suite(writer, line.id)
        for value in (1.0, 0.0, 0.5):
            score(writer, judged(writer, line.id), suite, [Outcome("first", value), Outcome("x", 0.0)])
        score(writer, writer.version(line.id, 3), suite, [Outcome("first", 0.25)])

    registry.write(work)
    with registry.read() as reader:
        found = reader.case_scores(line.id, digest("suite general"), "first")
        assert reader.case_scores(line.id, digest("suite general"), "nothing") == []
    assert [one[:2] for one in found] == [(2, 1.0), (3, 0.25), (4, 0.5)]
    assert isinstance(found[0], CaseScore)


def test_history_is_versions_by_suites(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        general, tools = add_suite(writer, line.id), add_suite(writer, line.id, "tools", kind="tools")
        for number in (2, 3):
            version = judged(writer, line.id, "refuse" if number == 3 else "pass")
            for suite in (general, tools, general):
                score(writer, version, suite, [Outcome("first", number / 4)])
            writer.promote(line.id, number, waiver="needed today" if number == 3 else None)
        changed = add_suite(writer, line.id, suite_digest=digest("changed"))
        score(writer, writer.version(line.id, 3), changed)
        writer.rollback(line.id)

    registry.write(work)
    with registry.read() as reader:
        history = reader.history(line.id)
    assert [(one.number, one.state) for one in history.versions] == [
        (1, "retired"),
        (2, "champion"),
        (3, "retired"),
    ]
    cells = [(row.number, row.suite, row.suite_digest, row.value) for row in history.rows]
    assert cells == [
        (2, "general", digest("suite general"), 0.5),
        (3, "general", digest("suite general"), 0.75),
        (3, "general", digest("changed"), 0.5),
        (2, "tools", digest("suite tools"), 0.5),
        (3, "tools", digest("suite tools"), 0.75),
    ]
    assert {(row.metric, row.kind, row.low, row.high) for row in history.rows} == {
        ("accuracy", "general", 0.1, 0.9),
        ("accuracy", "tools", 0.1, 0.9),
    }
    assert [(one.number, one.mark, one.previous, one.reason) for one in history.marks] == [
        (1, "init", None, ""),
        (2, "promoted", 1, ""),
        (3, "waived", 2, "needed today"),
        (2, "rolled back", 3, ""),
    ]


@pytest.mark.parametrize("versions", [1, 12])
def test_history_asks_three_questions_however_long_it_is(
    registry: Registry, line: Line, versions: int
) -> None:
    def work(writer: Writer) -> None:
        suites = [add_suite(writer, line.id, name) for name in ("a", "b", "c")]
        for _ in range(versions):
            version = finish(writer, start(writer, line.id))
            for suite in suites:
                score(writer, version, suite)

    registry.write(work)
    with counted(registry) as sent, registry.read() as reader:
        assert len(reader.history(line.id).rows) == versions * 3
    assert len(sent) == 3


def test_a_run_says_what_it_was_asked_by_and_whether_it_is_whole(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> list[int]:
        version, suite = judged(writer, line.id), add_suite(writer, line.id)
        base = writer.version(line.id, 1)
        return [
            score(writer, version, suite, cache_key="key").id,
            score(writer, version, suite, cache_key="other").id,
            score(writer, base, suite, cache_key="key", complete=False).id,
        ]

    runs = registry.write(work)
    with registry.read() as reader:
        assert [run.id for run in reader.runs_of_key("key")] == [runs[2], runs[0]]
        assert [run.complete for run in reader.runs_of_key("key")] == [False, True]
        assert reader.runs_of_key("none") == []
        assert len(reader.outbox_rows("suite_run.recorded")) == 2  # MLflow is told whole figures only
        told = [one.payload for one in reader.events() if one.kind == "suite_run.recorded"]
    assert [(one["cache_key"], one["complete"]) for one in told] == [
        ("key", True), ("other", True), ("key", False),
    ]  # fmt: skip


def test_history_prefers_a_whole_run(registry: Registry, line: Line) -> None:
    def partial(writer: Writer) -> None:
        version, suite = judged(writer, line.id), add_suite(writer, line.id)
        score(writer, version, suite, [Outcome("first", 1.0)], complete=False)

    def whole(writer: Writer) -> None:
        score(writer, writer.version(line.id, 2), writer.suite(line.id, "general"))

    def shown() -> list[tuple[int, bool]]:
        with registry.read() as reader:
            return [(row.n, row.complete) for row in reader.history(line.id).rows]

    registry.write(partial)
    assert shown() == [(1, False)]
    registry.write(whole)
    assert shown() == [(2, True)]
    registry.write(
        lambda writer: score(
            writer, writer.version(line.id, 2), writer.suite(line.id, "general"),
            [Outcome("first", 1.0)], complete=False,
        )
    )  # fmt: skip
    assert shown() == [(2, True)]


def test_the_newest_audit_of_a_suite_digest(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        base = writer.version(line.id, 1)
        first = add_suite(writer, line.id)
        renamed = add_suite(writer, line.id, "knowledge", suite_digest=first.suite_digest)
        for suite, flaky in ((first, ["a", "b"]), (renamed, ["a"])):
            writer.record_suite_audit(base.id, suite.id, runs=3, flaky=flaky, report_digest=digest("r"))

    registry.write(work)
    with registry.read() as reader:
        audit = reader.latest_suite_audit(line.id, digest("suite general"))
        assert audit is not None
        assert (audit.runs, audit.cases, audit.flaky, audit.report_digest) == (3, 2, ["a"], digest("r"))
        assert reader.latest_suite_audit(line.id, digest("another")) is None
        event = reader.events()[-1]
    assert (event.kind, event.subject) == ("suite.audited", "version/default/1")
    assert (event.payload["suite"], event.payload["flaky"]) == ("knowledge", ["a"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runs": 1}, "`runs` is `1`, less than 2"),
        ({"flaky": ["a", "a"]}, "each is named once"),
        ({"flaky": ["a", "b", "c"]}, "`3` flaky cases of `2`"),
    ],
)
def test_what_cannot_be_an_audit_is_refused(
    registry: Registry, line: Line, changes: dict[str, Any], told: str
) -> None:
    def work(writer: Writer) -> None:
        values: dict[str, Any] = {"runs": 2, "flaky": [], "report_digest": None, **changes}
        writer.record_suite_audit(writer.version(line.id, 1).id, add_suite(writer, line.id).id, **values)

    with pytest.raises(InvalidRecordError, match=told):
        registry.write(work)


def test_an_audit_of_another_line_is_refused(registry: Registry, line: Line) -> None:
    other = Line(registry, line.clock, "other")
    suite = registry.write(lambda writer: add_suite(writer, other.id))

    def work(writer: Writer) -> None:
        writer.record_suite_audit(
            writer.version(line.id, 1).id, suite.id, runs=2, flaky=[], report_digest=None
        )

    with pytest.raises(InvalidRecordError, match="belongs to another model line"):
        registry.write(work)


def test_the_newest_audit_of_capacity(registry: Registry, line: Line) -> None:
    def work(writer: Writer) -> None:
        base = writer.version(line.id, 1)
        audit_capacity(writer, base)
        audit_capacity(writer, base, verdict="saturated", room_bits=3.0, low=0.0, high=9.0)

    registry.write(work)
    with registry.read() as reader:
        base = reader.version(line.id, 1)
        audit = reader.latest_capacity_audit(base.id)
        told = [row.payload for row in reader.outbox_rows("capacity.audited")]
        event = reader.events()[-1]
    assert audit is not None
    assert (audit.verdict, audit.room_bits, audit.low, audit.high) == ("saturated", 3.0, 0.0, 9.0)
    assert [(one["verdict"], one["version"], one["figures"]["bits_16"]) for one in told] == [
        ("room", 1, 600.0),
        ("saturated", 1, 600.0),
    ]
    assert (event.kind, event.subject) == ("capacity.audited", "version/default/1")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"verdict": "roomy"}, "`roomy` is no verdict"),
        ({"room_bits": float("nan")}, "not an interval"),
        ({"low": 7_000.0}, "not an interval"),
        ({"low": -1.0}, "not an interval"),
        ({"figures": {"bits_16": float("inf")}}, "not an interval"),
    ],
)
def test_what_cannot_be_an_audit_of_capacity_is_refused(
    registry: Registry, line: Line, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidRecordError, match=told):
        registry.write(lambda writer: audit_capacity(writer, writer.version(line.id, 1), **changes))
    with registry.read() as reader:
        assert reader.latest_capacity_audit(reader.version(line.id, 1).id) is None
