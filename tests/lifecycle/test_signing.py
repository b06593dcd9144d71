"""Sign and verify a version that was really trained: what is whole passes, whatever was touched is found."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from adaptman.errors import ArtifactError, ModelError, SignatureError
from adaptman.lifecycle.approve import UnmetConditionsError
from adaptman.lifecycle.export import export_version
from adaptman.lifecycle.promote import promote
from adaptman.lifecycle.signing import Verification, sign_version, verify_version
from adaptman.lifecycle.workspace import Workspace
from policies.policy import Policy, builtin
from policies.promotion import digest_of
from registry.errors import NotFoundError
from tests.lifecycle.keys import Pair, pair
from tests.lifecycle.tiny_line import CANDIDATE, Clock, TinyLine


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: pair(folder, name) for name in ("ada", "bob", "eve")}


@pytest.fixture
def signed(updated: TinyLine, keys: dict[str, Pair]) -> TinyLine:
    """Version 2, judged, and signed with ada's key."""
    sign_version(updated.workspace, CANDIDATE, keys["ada"].private)
    return updated


def verify(line: TinyLine, *keys: Pair) -> Verification:
    return verify_version(line.workspace, CANDIDATE, [key.public for key in keys])


def statuses(found: Verification) -> list[str]:
    return [one.status.value for one in found.signatures]


def edit(line: TinyLine, statement: str) -> None:
    """As somebody who can take the triggers away."""
    line.workspace.close()
    with sqlite3.connect(line.workspace.settings.home / "registry.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_what_is_whole(signed: TinyLine, keys: dict[str, Pair]) -> None:
    found = verify(signed, keys["ada"])
    assert found.ok
    assert statuses(found) == ["valid"]
    named = {one.name: one.problem for one in found.artifacts}
    assert named == dict.fromkeys(["adapter", "base", "examples", "replay", "tool-document"], "")
    assert verify(signed, keys["bob"], keys["ada"]).ok


def test_the_decision_keeps_the_policy_it_was_made_under(updated: TinyLine) -> None:
    with updated.workspace.registry.read() as reader:
        decision = reader.latest_decision(updated.version().id)
    assert decision is not None
    assert decision.policy is not None
    assert digest_of(decision.policy) == decision.policy_digest == builtin().digest
    assert Policy.model_validate(decision.policy) == builtin()


def test_the_base_is_signed_like_any_other(updated: TinyLine, keys: dict[str, Pair]) -> None:
    sign_version(updated.workspace, 1, keys["ada"].private)
    found = verify_version(updated.workspace, 1, [keys["ada"].public])
    assert found.ok
    assert [one.name for one in found.artifacts] == ["base"]


def test_signing_twice_records_once(signed: TinyLine, keys: dict[str, Pair]) -> None:
    before = signed.events()
    assert not sign_version(signed.workspace, CANDIDATE, keys["ada"].private).created
    assert signed.events() == before
    assert sign_version(signed.workspace, CANDIDATE, keys["bob"].private).created
    assert statuses(verify(signed, keys["ada"], keys["bob"])) == ["valid", "valid"]


def test_a_key_that_nobody_trusts(signed: TinyLine, keys: dict[str, Pair]) -> None:
    found = verify(signed, keys["bob"])
    assert not found.ok
    assert statuses(found) == ["unknown key"]
    sign_version(signed.workspace, CANDIDATE, keys["bob"].private)
    found = verify(signed, keys["bob"])  # a stranger's signature beside a trusted one does no harm
    assert found.ok
    assert statuses(found) == ["unknown key", "valid"]


def test_an_unsigned_version(updated: TinyLine, keys: dict[str, Pair]) -> None:
    assert not verify(updated, keys["ada"]).ok


def test_no_key_is_trusted(signed: TinyLine) -> None:
    with pytest.raises(SignatureError, match="no key is trusted") as caught:
        verify(signed)
    assert "trusted_keys" in caught.value.hint


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_that_was_touched(signed: TinyLine, keys: dict[str, Pair], name: str) -> None:
    store = signed.workspace.store
    path = store.path_of(store.tree(signed.adapter())[name].sha256)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    found = verify(signed, keys["ada"])
    assert not found.ok
    assert [one.name for one in found.artifacts if one.problem] == ["adapter"]
    assert statuses(found) == ["valid"]
    with pytest.raises(ArtifactError, match="is damaged"):
        sign_version(signed.workspace, CANDIDATE, keys["bob"].private)


def test_examples_that_are_gone(signed: TinyLine, keys: dict[str, Pair]) -> None:
    (digest,) = [one.digest for one in verify(signed, keys["ada"]).artifacts if one.name == "examples"]
    signed.workspace.store.path_of(digest).unlink()
    found = verify(signed, keys["ada"])
    assert [one.name for one in found.artifacts if one.problem] == ["examples"]
    assert not found.ok


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE model_version SET recipe_digest = 'x' WHERE number = 2", "recipe"),
        ("UPDATE model_version SET author = 'eve' WHERE number = 2", "author"),
        ("UPDATE model_version SET base_digest = 'x' WHERE number = 1", "parent"),
        ("UPDATE output_format SET digest = 'x'", "output_format"),
        ("UPDATE replay_set SET object_digest = (SELECT object_digest FROM example_set)", "replay"),
        (
            "UPDATE model_version SET example_set_id = NULL, replay_set_id = NULL WHERE number = 2",
            "examples, replay",
        ),
    ],
)
def test_a_row_that_was_edited(signed: TinyLine, keys: dict[str, Pair], statement: str, told: str) -> None:
    edit(signed, statement)
    found = verify(signed, keys["ada"])
    assert not found.ok
    (one,) = found.signatures
    assert (one.status.value, one.told) == ("changed", f"no longer what was signed: {told}")
    sign_version(signed.workspace, CANDIDATE, keys["bob"].private)
    assert not verify(signed, keys["ada"], keys["bob"]).ok  # the first signature still speaks against it


def test_a_decision_that_was_edited_or_made_anew(signed: TinyLine, keys: dict[str, Pair]) -> None:
    edit(signed, "UPDATE decision SET verdict = 'pass', reasons = '[]'")
    found = verify(signed, keys["ada"])
    assert not found.ok
    assert [(one.status.value, one.told) for one in found.signatures] == [
        ("outdated", "it is over another decision than the newest")
    ]
    sign_version(signed.workspace, CANDIDATE, keys["ada"].private)
    found = verify(signed, keys["ada"])
    assert found.ok
    assert statuses(found) == ["outdated", "valid"]


def forged(line: TinyLine, **changes: object) -> str:
    with line.workspace.registry.read() as reader:
        envelope = json.loads(reader.signatures(line.version().id)[0].envelope)
    return json.dumps({**envelope, **changes}).replace("'", "''")


def test_an_envelope_that_was_edited(signed: TinyLine, keys: dict[str, Pair]) -> None:
    payload = base64.b64encode(b'{"predicate": {}}').decode()
    edit(signed, f"UPDATE signature SET envelope = '{forged(signed, payload=payload)}'")
    assert statuses(verify(signed, keys["ada"])) == ["broken"]
    edit(signed, "UPDATE signature SET envelope = 'nonsense'")
    found = verify(signed, keys["ada"])
    assert not found.ok
    assert statuses(found) == ["broken"]


def test_an_unknown_key_under_the_name_of_a_trusted_one(signed: TinyLine, keys: dict[str, Pair]) -> None:
    trusted = verify(signed, keys["ada"]).signatures[0].key_id
    sign_version(signed.workspace, CANDIDATE, keys["eve"].private)
    with signed.workspace.registry.read() as reader:
        envelope = json.loads(reader.signatures(signed.version().id)[1].envelope)
    envelope["signatures"][0]["keyid"] = trusted
    edit(
        signed, f"UPDATE signature SET envelope = '{json.dumps(envelope)}', key_id = '{trusted}' WHERE id = 2"
    )
    found = verify(signed, keys["ada"])
    assert statuses(found) == ["valid", "broken"]
    assert not found.ok


def test_a_version_without_weights(filled: TinyLine, keys: dict[str, Pair]) -> None:
    with pytest.raises(NotFoundError):
        sign_version(filled.workspace, 9, keys["ada"].private)
    filled.workspace.registry.write(
        lambda writer: writer.start_version(
            filled.workspace.model_row().id, parent_id=1, base_digest="b" * 64, recipe={},
            recipe_digest="r" * 64, tool_schema_id=None, output_format_id=None, example_set_id=None,
        )
    )  # fmt: skip
    with pytest.raises(ModelError, match="has no weights"):
        sign_version(filled.workspace, 2, keys["ada"].private)


def test_a_policy_that_asks_for_a_signature(updated: TinyLine, keys: dict[str, Pair]) -> None:
    policy = updated.folder / "signed.yaml"
    policy.write_text("name: signed\nrules: {}\npromotion: {signed: true}\n")
    changes = {"policy": str(policy), "trusted_keys": (keys["ada"].public,)}
    line = TinyLine.at(updated.folder, Clock(updated.clock.now), **changes)
    for signer in (None, "bob"):
        if signer:
            sign_version(line.workspace, CANDIDATE, keys[signer].private)
        with pytest.raises(UnmetConditionsError) as caught:
            promote(line.workspace, CANDIDATE, waiver="a tiny model learns nothing")
        assert "✗ no valid signature by a trusted key" in caught.value.message
        assert "`adaptman version sign 2 --key FILE`" in caught.value.hint
    sign_version(line.workspace, CANDIDATE, keys["ada"].private)
    recipe = line.version().recipe_digest
    edit(line, "UPDATE model_version SET recipe_digest = 'x' WHERE number = 2")
    with pytest.raises(UnmetConditionsError):
        promote(line.workspace, CANDIDATE, waiver="a tiny model learns nothing")
    edit(line, f"UPDATE model_version SET recipe_digest = '{recipe}' WHERE number = 2")
    assert promote(line.workspace, CANDIDATE, waiver="a tiny model learns nothing").version.number == 2
    line.workspace.close()


def test_an_export_brings_its_signatures(signed: TinyLine, keys: dict[str, Pair]) -> None:
    target = export_version(signed.workspace, CANDIDATE, signed.folder / "out", merged=False).target
    folder = target / "signed"
    key_id = verify(signed, keys["ada"]).signatures[0].key_id
    assert {path.name for path in folder.iterdir()} == {
        "statement.json", "adapter.json", f"{key_id[:12]}.dsse.json",
    }  # fmt: skip
    statement = (folder / "statement.json").read_bytes()
    envelope = json.loads((folder / f"{key_id[:12]}.dsse.json").read_text())
    assert base64.b64decode(envelope["payload"]) == statement
    subjects = {one["name"]: one["digest"]["sha256"] for one in json.loads(statement)["subject"]}
    listed = (folder / "adapter.json").read_bytes()
    assert hashlib.sha256(listed).hexdigest() == subjects["adapter"]
    files = json.loads(listed)["files"]
    assert {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in files} == {
        name: one["sha256"] for name, one in files.items()
    }


def test_an_export_of_what_is_not_signed(updated: TinyLine) -> None:
    target = export_version(updated.workspace, CANDIDATE, updated.folder / "out", merged=False).target
    assert not (target / "signed").exists()


def test_verifying_writes_nothing(signed: TinyLine, keys: dict[str, Pair]) -> None:
    before = _listing(signed.workspace)
    assert verify(signed, keys["ada"]).ok
    assert _listing(signed.workspace) == before


def _listing(workspace: Workspace) -> list[Path]:
    return sorted(workspace.settings.objects.rglob("*"))
