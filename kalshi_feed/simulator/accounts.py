"""The account of the exchange: a throw-away key pair, and the check of a client's signature.

Owns the private key and the rules of PROTOCOL.md 1.2.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

KeyType = Literal["rsa", "ed25519"]

KEY_HEADER = "KALSHI-ACCESS-KEY"
TIMESTAMP_HEADER = "KALSHI-ACCESS-TIMESTAMP"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)


class Account:
    """One account: its api key id and its key pair. Immutable, so safe in any thread. ``repr`` shows no key.

    ``private_key_pem``: a key that private_key_pem() returned earlier, instead of a new one; the id is
    derived from the key. Raises ValueError if it is not a private key.
    """

    def __init__(self, key_type: KeyType = "rsa", private_key_pem: bytes | None = None) -> None:
        self._key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
        if private_key_pem is not None:
            self._key = _loaded(private_key_pem)
        elif key_type == "rsa":
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif key_type == "ed25519":
            self._key = ed25519.Ed25519PrivateKey.generate()
        else:
            raise ValueError(f"key_type must be 'rsa' or 'ed25519', got {key_type!r}")
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.api_key_id = str(uuid.uuid5(uuid.NAMESPACE_OID, public.hex()))

    def private_key_pem(self) -> bytes:
        """The private key as Kalshi hands it out: PKCS#1 for RSA, PKCS#8 for Ed25519 (PROTOCOL.md 1.2)."""
        pkcs1 = isinstance(self._key, rsa.RSAPrivateKey)
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL if pkcs1 else serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def refusal(
        self,
        headers: Mapping[str, str],
        path: str,
        now_ms: int,
        tolerance_ms: float,
        *,
        method: str = "GET",
    ) -> str | None:
        """Why these headers are refused (the ``details`` of the 401), or None if they are valid.

        ``NOT_FOUND`` was captured from the real exchange; the others are the simulator's own words.
        """
        key_id, timestamp, signature = (
            headers.get(name, "") for name in (KEY_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
        )
        if not (key_id and timestamp and signature):
            return "MISSING_HEADERS"
        if key_id != self.api_key_id:
            return "NOT_FOUND"
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
            return "INVALID_TIMESTAMP"
        if abs(int(timestamp) - now_ms) > tolerance_ms:
            return "TIMESTAMP_EXPIRED"
        if not self.verify(f"{timestamp}{method}{path}", signature):
            return "INCORRECT_API_KEY_SIGNATURE"
        return None

    def verify(self, text: str, signature: str) -> bool:
        """Whether ``signature`` (base64) is this account's signature of ``text``."""
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(self._key, rsa.RSAPrivateKey):
                self._key.public_key().verify(raw, text.encode(), _PSS, hashes.SHA256())
            else:
                self._key.public_key().verify(raw, text.encode())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def _loaded(private_key_pem: bytes) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(private_key_pem, None)
    except (ValueError, TypeError):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise ValueError("it does not contain an RSA or Ed25519 private key without a password") from None
    return key
