"""Sign a version's manifest, and verify what was signed against the registry and the stored bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman import signing
from adaptman.errors import ArtifactError, SignatureError
from adaptman.lifecycle import engine
from adaptman.lifecycle.workspace import Workspace
from adaptman.signing import Subject, TrustedKey

if TYPE_CHECKING:
    from registry.reader import Reader
    from registry.tables import ModelVersion, Signature
    from registry.values import Registered
    from registry.writer import Writer

PREDICATE_TYPE = "urn:x-adaptman:version:v1"
_TREES = frozenset({"base", "adapter"})


class SignatureStatus(StrEnum):
    """What verification says of one signature."""

    VALID = "valid"
    OUTDATED = "outdated"
    """It holds, over another decision about the same version than the newest."""
    UNKNOWN = "unknown key"
    CHANGED = "changed"
    """It holds, and the version is no longer what was signed."""
    BROKEN = "broken"


FAILING = frozenset({SignatureStatus.CHANGED, SignatureStatus.BROKEN})


@dataclass(frozen=True)
class SignatureCheck:
    """One signature, what verification says of it, and why."""

    key_id: str
    actor: str
    status: SignatureStatus
    told: str


@dataclass(frozen=True)
class ArtifactCheck:
    """One object that the version names; `problem` is "" where its bytes have the digest they should."""

    name: str
    digest: str
    problem: str


@dataclass(frozen=True)
class Verification:
    """Everything that was looked at for version `number`."""

    number: int
    artifacts: tuple[ArtifactCheck, ...]
    signatures: tuple[SignatureCheck, ...]

    @property
    def ok(self) -> bool:
        """All objects are whole, a trusted signature holds over the version, and none speaks against it."""
        statuses = {one.status for one in self.signatures}
        whole = not any(one.problem for one in self.artifacts)
        return whole and SignatureStatus.VALID in statuses and not statuses & FAILING

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; keys are stable."""
        return {
            "version": self.number,
            "ok": self.ok,
            "artifacts": [asdict(one) for one in self.artifacts],
            "signatures": [asdict(one) for one in self.signatures],
        }


def version_statement(reader: Reader, version: ModelVersion) -> bytes:
    """The in-toto statement that a signature is over, from the registry as it is now."""
    manifest = reader.manifest(version)
    return signing.statement(_subjects(manifest["build"]), PREDICATE_TYPE, manifest)


def sign_version(workspace: Workspace, number: int, key_file: Path) -> Registered[Signature]:
    """Sign version `number` with the private key in a PEM file; signing the same again records nothing.

    Raises:
        SignatureError: the key cannot be used.
        ArtifactError: what would be signed is missing or damaged.
        ModelError: the version has no weights.
        NotFoundError: there is no such version.
    """
    key = signing.read_private_key(key_file, os.environ.get(signing.PASSPHRASE))
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
        build = reader.manifest(version)["build"]
    engine.check_weights(version)
    for subject in _subjects(build):
        _read(workspace, subject)

    def record(writer: Writer) -> Registered[Signature]:
        envelope = signing.sign(version_statement(writer, writer.version_by_id(version.id)), key)
        return writer.add_signature(version.id, key_id=key.key_id, envelope=envelope)

    return workspace.registry.write(record)


def verify_version(workspace: Workspace, number: int, keys: Sequence[Path] = ()) -> Verification:
    """Read every artifact of version `number` again, and hold its signatures against what it is now.

    `keys` are the public keys that count; without any, those of the setting `trusted_keys`.

    Raises:
        SignatureError: a public key cannot be used, or none is named.
        NotFoundError: there is no such version.
    """
    trusted = trusted_keys(keys or workspace.settings.trusted_keys)
    if not trusted:
        raise SignatureError(
            "no key is trusted, so no signature can count",
            hint="name public keys with `--key FILE`, or as `trusted_keys` in `adaptman.toml`",
        )
    model = workspace.model_row()
    with workspace.registry.read() as reader:
        version = reader.version(model.id, number)
        subjects = _subjects(reader.manifest(version)["build"])
        signatures = _checks(reader, version, trusted)
    artifacts = tuple(ArtifactCheck(*one, _problem(workspace, one)) for one in subjects)
    return Verification(number, artifacts, tuple(signatures))


def signed_files(workspace: Workspace, version: ModelVersion) -> dict[str, bytes]:
    """What lets somebody without the registry check an exported adapter: by file name, empty where unsigned.

    The envelopes are those over what the version is now. `adapter.json` lists the adapter's files with their
    sha256; its own sha256 is that of the subject `adapter`.
    """
    with workspace.registry.read() as reader:
        expected, rows = version_statement(reader, version), reader.signatures(version.id)
    current = [row for row in rows if signing.read_envelope(row.envelope).payload == expected]
    digest = engine.adapter_digest(workspace, version)
    if not current or digest is None:
        return {}
    envelopes = {f"{row.key_id[:12]}.dsse.json": row.envelope.encode() for row in current}
    return {"statement.json": expected, "adapter.json": workspace.store.get_bytes(digest), **envelopes}


def signers(reader: Reader, version: ModelVersion, trusted: Sequence[TrustedKey]) -> list[str]:
    """Ids of the trusted keys whose signatures hold over what the version is now."""
    checks = _checks(reader, version, trusted)
    return [one.key_id for one in checks if one.status is SignatureStatus.VALID]


def trusted_keys(files: Sequence[Path]) -> list[TrustedKey]:
    """The public keys in these files.

    Raises:
        SignatureError: one of them cannot be used.
    """
    return [signing.read_public_key(path) for path in files]


def _subjects(build: Mapping[str, Any]) -> list[Subject]:
    """The artifacts that a version is made of, or was made from, by the digest the store knows them by."""
    schema = build["tool_schema"]
    named = {
        "adapter": build["adapter"],
        "base": build["base"],
        "examples": build["examples"],
        "replay": build["replay"],
        "tool-document": schema["document"] if schema else None,
    }
    return [Subject(name, digest) for name, digest in named.items() if digest is not None]


def _read(workspace: Workspace, subject: Subject) -> None:
    if subject.name in _TREES:
        workspace.store.checkout(subject.sha256)  # verifies every file
    else:
        workspace.store.get_bytes(subject.sha256)


def _problem(workspace: Workspace, subject: Subject) -> str:
    try:
        _read(workspace, subject)
    except ArtifactError as error:
        return error.message
    return ""


def _checks(reader: Reader, version: ModelVersion, trusted: Sequence[TrustedKey]) -> list[SignatureCheck]:
    expected = version_statement(reader, version)
    return [_check(row, expected, trusted) for row in reader.signatures(version.id)]


class _Verdict(NamedTuple):
    status: SignatureStatus
    told: str


def _check(row: Signature, expected: bytes, trusted: Sequence[TrustedKey]) -> SignatureCheck:
    try:
        envelope = signing.read_envelope(row.envelope)
    except SignatureError as error:
        return SignatureCheck(row.key_id, row.actor, SignatureStatus.BROKEN, error.message)
    # The envelope says which key it was, whatever the row beside it says.
    named = [key for key in trusted if key.key_id in envelope.signatures]
    key_id = named[0].key_id if named else next(iter(envelope.signatures), row.key_id)
    return SignatureCheck(key_id, row.actor, *_judged(envelope, expected, named))


def _judged(envelope: signing.Envelope, expected: bytes, named: Sequence[TrustedKey]) -> _Verdict:
    if not named:
        return _Verdict(SignatureStatus.UNKNOWN, "the key is not among those that are trusted")
    if not all(signing.is_signed_by(envelope, key) for key in named):
        return _Verdict(SignatureStatus.BROKEN, "the signature does not fit what it is over")
    if envelope.payload == expected:
        return _Verdict(SignatureStatus.VALID, f"by the key in {named[0].origin}")
    changed = ", ".join(_differences(envelope.payload, expected))
    if changed == "decision":
        return _Verdict(SignatureStatus.OUTDATED, "it is over another decision than the newest")
    return _Verdict(SignatureStatus.CHANGED, f"no longer what was signed: {changed or 'its form'}")


def _differences(signed: bytes, expected: bytes) -> list[str]:
    """Names of the manifest's entries that differ."""
    before, now = dict(_entries(signed)), dict(_entries(expected))
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _entries(payload: bytes) -> Iterator[tuple[str, Any]]:
    """The entries of a statement's manifest; a trusted key may have signed something else altogether."""
    try:
        predicate = json.loads(payload)["predicate"]
        yield "decision", predicate["decision"]
        yield from predicate["build"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        yield "everything", payload
