"""The whole of it, command by command, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adaptman.cli.main import cli
from tests.learning.tiny import make_tiny_checkpoint
from tests.lifecycle.keys import pair
from tests.lifecycle.story import FIRST_TOOLS, document, suite_lines
from tests.lifecycle.tiny_line import FIRST_EXAMPLES, RECIPE_WORDS, lines
from tests.registry.databases import postgres_server

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A registry that is not there yet (SQLite), or an empty database (PostgreSQL)."""
    settings = {"ADAPTMAN_HOME": str(tmp_path / "home"), "ADAPTMAN_AUTO_SYNC": "false"}
    if request.param == "sqlite":
        yield settings
        return
    with postgres_server() as server, server.new_database("template0") as url:
        yield {**settings, "ADAPTMAN_REGISTRY_URL": url}


def test_from_init_to_rollback(environment: dict[str, str], tmp_path: Path) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words, env=environment)

    def ok(*words: str) -> str:
        done = run(*words)
        assert done.exit_code == 0, f"{words}: {done.output}"
        return done.stdout

    make_tiny_checkpoint(tmp_path / "tiny")
    (tmp_path / "tools.json").write_bytes(document(FIRST_TOOLS))
    (tmp_path / "examples.jsonl").write_text(lines(FIRST_EXAMPLES))
    ok("init", "--base", str(tmp_path / "tiny"))
    ok("schema", "register", str(tmp_path / "tools.json"))
    for kind in ("target", "general"):
        (tmp_path / f"{kind}.jsonl").write_bytes(suite_lines(kind))
        ok("suite", "register", str(tmp_path / f"{kind}.jsonl"), "--kind", kind)
    ok("update", "run", "--schema", "1", "--examples", str(tmp_path / "examples.jsonl"), *RECIPE_WORDS)
    assert run("promote", "2").exit_code == 3
    ok("approve", "2", "--note", "seen")
    keys = pair(tmp_path, "ada")
    ok("version", "sign", "2", "--key", str(keys.private))
    ok("version", "verify", "2", "--key", str(keys.public))
    ok("promote", "2", "--waive", "a tiny model learns nothing")
    ok("rollback")
    states = {row["version"]: row["state"] for row in json.loads(ok("version", "list", "--json"))}
    assert states == {1: "champion", 2: "retired"}
    assert {row["version"] for row in json.loads(ok("history", "--json"))["versions"]} == {1, 2}
    ok("log", "--verify")
    ok("db", "check")
    ok("lineage", "sync")
    assert json.loads(ok("lineage", "status", "--json"))["pending"] == []
    ok("doctor")
