"""Keys and envelopes: what is taken, what is refused and how, and that others can check what we sign."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptman import signing
from adaptman.errors import SignatureError
from adaptman.signing import Subject, read_envelope, read_private_key, read_public_key
from tests.lifecycle.keys import Pair, openssl, pair
from tests.nobody import as_nobody

RSA = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
PAYLOAD = signing.statement([Subject("adapter", "a" * 64)], "urn:x-test", {"decision": None})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def ada(folder: Path) -> Iterator[Pair]:
    return pair(folder, "ada")


def test_openssl_verifies_what_we_sign(ada: Pair, folder: Path) -> None:
    """By the specification's own words, with nothing of ours but the envelope."""
    envelope = json.loads(signing.sign(PAYLOAD, read_private_key(ada.private, None)))
    kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
    (folder / "pae").write_bytes(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload)
    (folder / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    said = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", ada.public, "-rawin", "-in", folder / "pae",
        "-sigfile", folder / "sig",
    )  # fmt: skip
    assert b"Verified Successfully" in said
    der = openssl("pkey", "-pubin", "-in", ada.public, "-outform", "DER")
    assert envelope["signatures"][0]["keyid"] == hashlib.sha256(der).hexdigest()


def test_the_pre_authentication_encoding_is_the_specifications() -> None:
    expected = b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    assert signing.pre_authentication(b"hello world") == expected


def test_the_statement_is_an_in_toto_one() -> None:
    assert json.loads(PAYLOAD) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "adapter", "digest": {"sha256": "a" * 64}}],
        "predicateType": "urn:x-test",
        "predicate": {"decision": None},
    }


def test_only_the_right_key_and_the_right_payload(ada: Pair, folder: Path) -> None:
    eve = pair(folder, "eve")
    text = signing.sign(PAYLOAD, read_private_key(ada.private, None))
    envelope = read_envelope(text)
    assert signing.is_signed_by(envelope, read_public_key(ada.public))
    assert not signing.is_signed_by(envelope, read_public_key(eve.public))
    assert not signing.is_signed_by(envelope._replace(payload=PAYLOAD + b" "), read_public_key(ada.public))
    forged = json.loads(text)
    forged["signatures"][0]["keyid"] = read_public_key(eve.public).key_id
    assert not signing.is_signed_by(read_envelope(json.dumps(forged)), read_public_key(eve.public))


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_bit_of_a_signature_may_change(ada: Pair, at: int, mask: int) -> None:
    key = read_private_key(ada.private, None)
    envelope = read_envelope(signing.sign(PAYLOAD, key))
    changed = bytearray(envelope.signatures[key.key_id])
    changed[at] ^= mask
    assert not signing.is_signed_by(
        envelope._replace(signatures={key.key_id: bytes(changed)}), read_public_key(ada.public)
    )


def test_a_key_with_a_passphrase(folder: Path) -> None:
    plain = pair(folder, "locked")
    locked = folder / "locked.enc.pem"
    openssl("pkey", "-in", plain.private, "-aes256", "-passout", "pass:s3cret", "-out", locked)
    expected = read_private_key(plain.private, None).key_id
    assert read_private_key(locked, "s3cret").key_id == expected
    assert read_private_key(plain.private, "of another key").key_id == expected
    with pytest.raises(SignatureError, match="is encrypted") as caught:
        read_private_key(locked, None)
    assert "`ADAPTMAN_SIGNING_PASSPHRASE`" in caught.value.hint
    with pytest.raises(SignatureError, match="cannot be decrypted"):
        read_private_key(locked, "wrong")


def no_keys(folder: Path, ada: Pair) -> dict[str, Path]:
    """Files that are no Ed25519 key of either kind."""
    rsa, curve = pair(folder, "rsa", *RSA), pair(folder, "p256", *P256)
    for name, data in {"empty": b"", "text": b"hello", "binary": b"\x00\xff" * 40}.items():
        (folder / name).write_bytes(data)
    cut = ada.private.read_bytes()
    (folder / "cut").write_bytes(cut[: len(cut) // 2])
    (folder / "folder").mkdir(exist_ok=True)
    others = {name: folder / name for name in ("empty", "text", "binary", "cut", "folder", "missing")}
    halves = {str(path): path for path in (*rsa, *curve)}
    return halves | others


def test_what_is_no_key_is_named(folder: Path, ada: Pair) -> None:
    for what, path in no_keys(folder, ada).items():
        for read in (lambda path: read_private_key(path, None), read_public_key):
            with pytest.raises(SignatureError) as caught:
                read(path)
            assert f"`{path}`" in caught.value.message, what
            assert caught.value.hint, what
            assert "-----BEGIN" not in caught.value.message


def test_a_key_that_may_not_be_read(folder: Path) -> None:
    closed = pair(folder, "closed").private
    closed.chmod(0o000)
    with as_nobody(), pytest.raises(SignatureError, match="cannot be read: Permission denied"):
        read_private_key(closed, None)


def test_the_other_half_of_a_key_is_called_so(ada: Pair) -> None:
    with pytest.raises(SignatureError, match="is a public key"):
        read_private_key(ada.public, None)
    with pytest.raises(SignatureError, match="is a private key"):
        read_public_key(ada.private)


ENVELOPES = ["", "{}", "[]", "null", '"x"', "{", "[" * 5000, '{"payloadType": "application/json"}']


@pytest.mark.parametrize("text", ENVELOPES)
def test_what_is_no_envelope(text: str) -> None:
    with pytest.raises(SignatureError):
        read_envelope(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON, JSON)
def test_any_json_is_an_envelope_or_an_error(payload: object, signatures: object) -> None:
    content = {"payloadType": signing.PAYLOAD_TYPE, "payload": payload, "signatures": signatures}
    with suppress(SignatureError):
        read_envelope(json.dumps(content))
