"""Ed25519 keys: made, kept in PEM files that other tools read, and used.

The private half is PKCS #8, readable by its owner alone and on wish encrypted with a passphrase,
which comes from the environment or a prompt, never from the command line, where everybody on the
machine could read it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError, InfraError, UsageError
from ..files import create_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "HENGSUAN_KEY_PASSPHRASE"
"""The environment variable that holds a key's passphrase."""
PUBLIC_SUFFIX = ".pub"
_MOST = 1 << 16


class Key:
    """A private key: signs. ``public`` is the raw public half, 32 bytes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._private = private
        self.public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes) -> str:
        """The signature of ``data`` in base64."""
        return base64.b64encode(self._private.sign(data)).decode()


def need_cryptography() -> None:
    """Raises `UsageError` that says how to install what signing and verifying needs."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise UsageError(
            "signing and verifying need the package cryptography, which is not installed",
            hint="python -m pip install 'hengsuan[sign]'",
        ) from None


def key_id(public: bytes) -> str:
    """``ed25519:`` and the SHA-256 of the raw public key."""
    return f"ed25519:{hashlib.sha256(public).hexdigest()}"


def generate(path: Path, passphrase: bytes | None = None) -> bytes:
    """Make a key pair: ``path`` is the private half (mode 0600), ``path.pub`` the public one.

    Returns:
        The raw public key.

    Raises:
        UsageError: one of the files exists already.
        InfraError: the folder cannot be written.
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    secrecy: forms.KeySerializationEncryption = forms.NoEncryption()
    if passphrase is not None:
        secrecy = forms.BestAvailableEncryption(passphrase)
    public_file = path.with_name(path.name + PUBLIC_SUFFIX)
    for file in (path, public_file):
        if os.path.lexists(file):
            raise UsageError(f"{file} exists: a key is never overwritten", hint="name another file")
    shared = private.public_key().public_bytes(
        forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        secret = private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, secrecy)
        create_file(path, secret, 0o600)
        create_file(public_file, shared)
    except OSError as error:
        raise InfraError(f"cannot write: {error.strerror}", where=str(path)) from None
    return Key(private).public


def load_private(path: Path, passphrase: bytes | None = None) -> Key:
    """The key of a private key file.

    Raises:
        UsageError: it is no such file, others may read it, it needs a passphrase that is not given,
            or the one that is given is wrong.
    """
    need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            f"others can read this private key (mode {mode:04o})",
            where=str(path),
            hint=f"chmod 600 {path}; if others were on this machine, make a new key",
        )
    if is_encrypted(raw):
        if passphrase is None:
            raise UsageError(
                "this key needs its passphrase", where=str(path), hint=f"export {PASSPHRASE}=..."
            )
    else:
        passphrase = None  # one that nobody needs is no error
    try:
        private = load_pem_private_key(raw, passphrase)
    except (ValueError, TypeError, binascii.Error) as error:
        why = "the passphrase is wrong, or the key is damaged" if passphrase else str(error)
        raise UsageError(
            f"this is no private key that can be used: {why}", where=str(path)
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(
            f"a key of kind {type(private).__name__}; certificates are signed with Ed25519",
            where=str(path),
            hint="make one with `hengsuan certificate keygen`",
        )
    return Key(private)


def is_encrypted(raw: bytes) -> bool:
    """Whether a private key file asks for a passphrase."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in raw


def needs_passphrase(path: Path) -> bool:
    """`is_encrypted` of a file. Raises `UsageError` if it cannot be read."""
    return is_encrypted(_read(path))


def load_public(path: Path) -> bytes:
    """The raw public key of a PEM file. Raises `UsageError` if it holds none."""
    need_cryptography()
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = _read(path)
    if b"PRIVATE KEY" in raw:
        raise UsageError(
            "this is a private key; trust goes to its public half",
            where=str(path),
            hint=f"name {path}{PUBLIC_SUFFIX}",
        )
    try:
        public = forms.load_pem_public_key(raw)
    except (ValueError, TypeError, binascii.Error) as error:
        raise UsageError(f"this is no public key: {error}", where=str(path)) from None
    if not isinstance(public, Ed25519PublicKey):
        raise UsageError(
            f"a key of kind {type(public).__name__}; certificates are signed with Ed25519",
            where=str(path),
        )
    return public.public_bytes(forms.Encoding.Raw, forms.PublicFormat.Raw)


def fits(public: bytes, signature: str, data: bytes) -> bool:
    """Whether ``signature`` (base64) is that of ``data`` by the owner of ``public``."""
    need_cryptography()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = base64.b64decode(signature, validate=True)
        # Base64 may write the same bytes in several ways; only one was signed.
        if base64.b64encode(raw).decode() != signature:
            return False
        Ed25519PublicKey.from_public_bytes(public).verify(raw, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def encode_public(public: bytes) -> str:
    """A raw public key as text."""
    return base64.b64encode(public).decode()


def decode_public(text: str) -> bytes:
    """The raw public key of `encode_public`. Raises ValueError for what is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
    if len(raw) != 32:
        raise ValueError(f"{len(raw)} bytes; an Ed25519 key has 32")
    return raw


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError("no such file", where=str(path))
        with path.open("rb") as file:
            return file.read(_MOST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read: {reason}", where=str(path)) from None
