"""Signatures of what the gate, a person and a promotion say: Ed25519 over the JSON content.

The key of one host is made on first use in `$LUNGSEG_HOME/keys`, readable by its user alone. A team
names one that all its hosts share by `LUNGSEG_SIGNING_KEY`, and lists the public keys it believes
besides in the file `LUNGSEG_TRUSTED_KEYS`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel

from pipeline.errors import ReleaseError
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord, find_artifact

log = logging.getLogger(__name__)

Content = TypeVar("Content", bound=BaseModel)

SIGNATURE = "signature"
"""The field of a signed document that holds its signature."""


def content_bytes(document: Mapping[str, Any]) -> bytes:
    """What is signed and hashed of a document: all but its signature, as canonical JSON.

    Raises ValueError for a number that is not finite.
    """
    content = {key: value for key, value in document.items() if key != SIGNATURE}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def content_sha256(document: Mapping[str, Any]) -> str:
    """Hex SHA-256 of `content_bytes`."""
    return hashlib.sha256(content_bytes(document)).hexdigest()


@dataclass(frozen=True)
class Verifier:
    """The keys that this host believes."""

    trusted: frozenset[str]
    """Public keys in hexadecimal digits."""

    def problem(self, document: Mapping[str, Any]) -> str | None:
        """Why a document cannot be believed, in a few words; None when it can."""
        signature = document.get(SIGNATURE)
        if not isinstance(signature, Mapping):
            return "is not signed"
        key, value = str(signature.get("key", "")), str(signature.get("value", ""))
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            public.verify(bytes.fromhex(value), content_bytes(document))
        except (ValueError, InvalidSignature):
            return "was changed after it was signed"
        if key not in self.trusted:
            return (
                f"is signed by an unknown key {key[:12]}; if it is one of yours, list it in the "
                "file that LUNGSEG_TRUSTED_KEYS names"
            )
        return None


@dataclass(frozen=True)
class Signer(Verifier):
    """The key that this host signs with, which it believes too."""

    private: Ed25519PrivateKey

    @property
    def key(self) -> str:
        """Its public key in hexadecimal digits."""
        return _public(self.private.public_key())

    def sign(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The content with its signature."""
        value = self.private.sign(content_bytes(content)).hex()
        return {**content, SIGNATURE: {"key": self.key, "value": value}}


def read_signed(
    record: RunRecord, verifier: Verifier, path: str, kind: type[Content]
) -> Content | None:
    """A signed artifact of a run; None, with a warning, when there is none that can be believed."""
    with TemporaryDirectory() as temporary:
        file = find_artifact(record.client, record.run_id, path, Path(temporary))
        if file is None:
            return None
        text = file.read_bytes()
    try:
        document = json.loads(text)
        problem = verifier.problem(document) if isinstance(document, dict) else "cannot be read"
        content = None if problem else kind.model_validate_json(text)
    except ValueError:  # of JSON, or of the model
        content, problem = None, "cannot be read"
    if problem:
        log.warning("run %s: its %s %s, and does not count", record.run_id, path, problem)
    return content


def open_signer(settings: Settings) -> Signer:
    """The signer of this host; its key is made on first use unless the settings name one.

    Raises ReleaseError for a key that cannot be read, is none, or is readable by others.
    """
    path = _key_path(settings)
    if settings.signing_key is None and not path.exists():
        _make_key(path)
    private = _read_private(path)
    return Signer(open_verifier(settings).trusted, private)


def open_verifier(settings: Settings) -> Verifier:
    """What is believed here; makes no key. Raises ReleaseError as `open_signer` does."""
    path = _key_path(settings)
    own = path.exists() or settings.signing_key
    trusted = {_public(_read_private(path).public_key())} if own else set()
    listed = _read_trusted(settings.trusted_keys) if settings.trusted_keys else set()
    return Verifier(frozenset(trusted | listed))


def _key_path(settings: Settings) -> Path:
    return settings.signing_key or settings.home / "keys" / "release.pem"


def _public(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.touch(mode=0o600)
    partial.write_bytes(text)
    try:
        os.link(partial, path)  # of two processes at once, the first one's key is the key
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _read_private(path: Path) -> Ed25519PrivateKey:
    expected = "expected an Ed25519 private key as PEM (`openssl genpkey -algorithm ed25519`)"
    try:
        if path.stat().st_mode & 0o077:
            raise ReleaseError(
                f"{path}: readable by others, expected mode 600; run `chmod 600`, or in a "
                "container `entrypoint.sh lungseg …`, which takes a copy of it"
            )
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ReleaseError(f"{path}: {error.strerror}; {expected}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ReleaseError(f"{path}: cannot be read as a key; {expected}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{path}: found another kind of key; {expected}")
    return key


def _read_trusted(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ReleaseError(
            f"{path}: cannot be read; LUNGSEG_TRUSTED_KEYS must name a file with a public key on "
            "each line, as `lungseg releases key` prints it",
        ) from None
    keys = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    for key in keys:
        if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise ReleaseError(
                f"{path}: found {key[:20]!r}, expected a public key of 64 hexadecimal digits on "
                "each line, as `lungseg releases key` prints it",
            )
    return set(keys)
