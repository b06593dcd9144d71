"""Ed25519 signatures in DSSE envelopes over in-toto statements: known forms, so that others can check them.

    envelope   https://github.com/secure-systems-lab/dsse (protocol v1.0.2, JSON envelope)
    payload    https://github.com/in-toto/attestation (Statement v1)
    signature  Ed25519 (RFC 8032) over the envelope's pre-authentication encoding

A key is named by the sha256 of its public half (DER, SubjectPublicKeyInfo). Private keys are read from a PEM
file for one signature; they are neither kept nor shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adaptman.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PASSPHRASE = "ADAPTMAN_SIGNING_PASSPHRASE"
LARGEST_KEY = 64 * 1024
"""Bytes that are read of a key file; an Ed25519 key has some hundred."""

_MAKE_ONE = "make a pair with `openssl genpkey -algorithm ed25519 -out key.pem`"
_PUBLIC_HALF = "write the public half with `openssl pkey -in key.pem -pubout -out key.pub.pem`"


class Subject(NamedTuple):
    """Something that a statement is about: a name, and the sha256 (hex) of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class TrustedKey:
    """A public key, and the file that it came from."""

    key_id: str
    origin: str
    key: Ed25519PublicKey


@dataclass(frozen=True)
class SigningKey:
    """A private key, and the name of its public half."""

    key_id: str
    key: Ed25519PrivateKey


class Envelope(NamedTuple):
    """A DSSE envelope taken apart: the payload's bytes, and a signature for each key id."""

    payload: bytes
    signatures: Mapping[str, bytes]


def statement(subjects: Sequence[Subject], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """An in-toto statement as canonical JSON: the same content always gives the same bytes."""
    named = [{"name": one.name, "digest": {"sha256": one.sha256}} for one in subjects]
    content = {
        "_type": STATEMENT_TYPE,
        "subject": named,
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def pre_authentication(payload: bytes) -> bytes:
    """What is signed: type and payload, each with its length before it (DSSE, "PAE")."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, key: SigningKey) -> str:
    """The payload in a DSSE envelope with one signature, as JSON."""
    signature = key.key.sign(pre_authentication(payload))
    content = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def read_envelope(text: str) -> Envelope:
    """Take an envelope apart. Nothing is verified.

    Raises:
        SignatureError: it is no DSSE envelope of an in-toto statement.
    """
    try:
        content = json.loads(text)
        if content["payloadType"] != PAYLOAD_TYPE:
            raise SignatureError("the envelope does not hold an in-toto statement")
        signatures = {str(one["keyid"]): _decoded(one["sig"]) for one in content["signatures"]}
        return Envelope(_decoded(content["payload"]), signatures)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SignatureError("the signature is not a DSSE envelope") from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SignatureError("the envelope holds text that is not base64") from error


def is_signed_by(envelope: Envelope, trusted: TrustedKey) -> bool:
    """Whether the envelope bears a signature of that key that holds."""
    from cryptography.exceptions import InvalidSignature

    signature = envelope.signatures.get(trusted.key_id)
    if signature is None:
        return False
    try:
        trusted.key.verify(signature, pre_authentication(envelope.payload))
    except InvalidSignature:
        return False
    return True


def read_private_key(path: Path, passphrase: str | None) -> SigningKey:
    """The Ed25519 private key in a PEM file (PKCS #8), decrypted with the passphrase where it is encrypted.

    Raises:
        SignatureError: the file cannot be read, holds no such key, or the passphrase does not fit.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path)
    try:
        # An unencrypted key takes no passphrase, and the variable may be set for another one.
        secret = passphrase.encode() if passphrase and b"ENCRYPTED" in data else None
        key = load_pem_private_key(data, secret)
    except TypeError as error:
        raise SignatureError(f"the key `{path}` is encrypted", hint=f"set `{PASSPHRASE}`") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_private_key(path, data) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"the key `{path}` is not an Ed25519 key", hint=_MAKE_ONE)
    return SigningKey(_key_id(key.public_key()), key)


def _no_private_key(path: Path, data: bytes) -> SignatureError:
    if b"ENCRYPTED" in data:
        return SignatureError(
            f"the key `{path}` cannot be decrypted", hint=f"check the passphrase in `{PASSPHRASE}`"
        )
    if b"PUBLIC KEY" in data:
        return SignatureError(f"`{path}` is a public key", hint="signing needs the private one")
    return SignatureError(f"`{path}` holds no private key in PEM", hint=_MAKE_ONE)


def read_public_key(path: Path) -> TrustedKey:
    """The Ed25519 public key in a PEM file.

    Raises:
        SignatureError: the file cannot be read or holds no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_public_key(path, data) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"the key `{path}` is not an Ed25519 key", hint=_PUBLIC_HALF)
    return TrustedKey(_key_id(key), str(path), key)


def _no_public_key(path: Path, data: bytes) -> SignatureError:
    if b"PRIVATE KEY" in data:
        return SignatureError(
            f"`{path}` is a private key, and belongs on no list of trusted ones", hint=_PUBLIC_HALF
        )
    return SignatureError(f"`{path}` holds no public key in PEM", hint=_PUBLIC_HALF)


def _key_id(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST_KEY)
    except OSError as error:
        raise SignatureError(
            f"the key `{path}` cannot be read: {error.strerror or error}",
            hint="check the path, its owner and its permissions",
        ) from error
