"""An API key: the private key in, the three signed handshake headers out (PROTOCOL.md 1.2).

Owns Credentials, and how a key stays secret. Everything that sees the key or its password runs inside
``_attempt``, which returns an error as a value, cut loose from the frames it came through. The public
constructors drop their own arguments before they raise it, so a traceback that shows locals (Sentry, Flask's
debugger) finds no key in our frames.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar, final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from .errors import ConfigurationError, CredentialsError

__all__ = ["Credentials"]

logger = logging.getLogger(__name__)

KEY_ID_VARIABLE = "KALSHI_API_KEY_ID"
PATH_VARIABLE = "KALSHI_PRIVATE_KEY_PATH"
PEM_VARIABLE = "KALSHI_PRIVATE_KEY"
PASSWORD_VARIABLE = "KALSHI_PRIVATE_KEY_PASSWORD"
# which variable from_env() reads for which argument of the other constructors
_VARIABLES = {"path": PATH_VARIABLE, "password": PASSWORD_VARIABLE}

_MAX_KEY_BYTES = 65536  # a 16384-bit RSA key is 13 kB
_MIN_RSA_BITS = 2048
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
# base64 of a DER SEQUENCE: any PEM key without its BEGIN line
_PEM_BODY = re.compile(r"M[A-Za-z0-9+/=\s]{47,}")
_OPENSSH_LABEL = "OPENSSH PRIVATE KEY"
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)

_T = TypeVar("_T")


class _Key(NamedTuple):
    """What the constructors make and Credentials keeps. Thread-safe: immutable."""

    api_key_id: str
    private_key: RSAPrivateKey | Ed25519PrivateKey


@final
class Credentials:
    """An API key id and its private key, RSA (2048 bits or more) or Ed25519; signs, and never shows the key.

    Made by from_file(), from_pem() or from_env(). Cannot be pickled or copied. Thread-safe: immutable.
    """

    __slots__ = ("_api_key_id", "_private_key")

    _api_key_id: str
    _private_key: RSAPrivateKey | Ed25519PrivateKey

    def __new__(cls, *_: object, **__: object) -> Credentials:
        del _, __  # perhaps a key: keep it out of the traceback
        raise TypeError("make Credentials with Credentials.from_file(), .from_pem() or .from_env()")

    @classmethod
    def from_file(
        cls, api_key_id: str, path: str | os.PathLike[str], password: str | bytes | None = None
    ) -> Credentials:
        """Load the key from a PEM file (PKCS#8, PKCS#1 or OpenSSH); pass ``password`` if it is encrypted.

        Logs a warning, once, if other users may read the file. Raises CredentialsError.
        """
        outcome = _attempt(_key_from_file, api_key_id, path, password)
        del api_key_id, path, password
        return cls._of(outcome)

    @classmethod
    def from_pem(cls, api_key_id: str, pem: str | bytes, password: str | bytes | None = None) -> Credentials:
        r"""Load the key from the PEM string ``pem``; ``password`` if it is encrypted.

        Literal ``\n`` or spaces for line breaks, quotes and a BOM are fine. Raises CredentialsError.
        """
        outcome = _attempt(_key_from_pem, api_key_id, pem, password)
        del api_key_id, pem, password
        return cls._of(outcome)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Credentials:
        """Load the key named by the environment.

        Reads KALSHI_API_KEY_ID; either KALSHI_PRIVATE_KEY_PATH (a file) or KALSHI_PRIVATE_KEY (the PEM
        itself), never both; and KALSHI_PRIVATE_KEY_PASSWORD if it is encrypted. An empty variable counts as
        unset. Raises CredentialsError.
        """
        outcome = _attempt(_key_from_env, environ)
        del environ
        return cls._of(outcome)

    @classmethod
    def _of(cls, outcome: _Key | CredentialsError) -> Credentials:
        if isinstance(outcome, CredentialsError):
            raise outcome
        self = object.__new__(cls)
        object.__setattr__(self, "_api_key_id", outcome.api_key_id)
        object.__setattr__(self, "_private_key", outcome.private_key)
        return self

    @property
    def api_key_id(self) -> str:
        """The whole API key id."""
        return self._api_key_id

    @property
    def key_type(self) -> Literal["RSA", "Ed25519"]:
        """The type of the private key, which decides how to sign."""
        return "RSA" if isinstance(self._private_key, RSAPrivateKey) else "Ed25519"

    def sign(self, text: str) -> str:
        """Sign ``text`` (PROTOCOL.md 1.2): RSA-PSS (SHA-256, MGF1-SHA-256, salt 32) or Ed25519, in base64."""
        if isinstance(self._private_key, RSAPrivateKey):
            signature = self._private_key.sign(text.encode(), _PSS, hashes.SHA256())
        else:
            signature = self._private_key.sign(text.encode())
        return base64.b64encode(signature).decode("ascii")

    def headers(self, path: str, now_ms: int) -> dict[str, str]:
        """Return the three headers for one handshake attempt (PROTOCOL.md 1.2).

        ``path`` is the url's, without its query; ``now_ms`` is Unix time in milliseconds. Raises
        ConfigurationError for a path or a time that the exchange would answer with 401.
        """
        if not path.startswith("/") or "?" in path or "#" in path:
            raise ConfigurationError(f"sign only the url's path, like '/trade-api/ws/v2', not {path!r}")
        if not isinstance(now_ms, int):
            raise ConfigurationError(f"now_ms must be Unix time in whole milliseconds (int), not {now_ms!r}")
        return {
            "KALSHI-ACCESS-KEY": self._api_key_id,
            "KALSHI-ACCESS-SIGNATURE": self.sign(f"{now_ms}GET{path}"),
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
        }

    def __repr__(self) -> str:
        return f"<Credentials {self._api_key_id[:4]}… {self.key_type}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value
        raise AttributeError(f"Credentials are immutable: make new ones instead of setting {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Credentials are immutable: {name!r} cannot be deleted")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # pickle, copy and deepcopy all ask this
        raise TypeError(
            "Credentials cannot be pickled or copied, because they hold a private key; "
            "load the key again where you need it"
        )


def _attempt(build: Callable[..., _T], *secrets: Any) -> _T | CredentialsError:
    """Return ``build(*secrets)``, or its error without the frames, contexts and causes that saw them."""
    try:
        return build(*secrets)
    except CredentialsError as error:
        problem = error
    except Exception as error:  # cryptography may raise anything
        problem = CredentialsError(
            f"the private key cannot be read ({type(error).__name__}): is it the file Kalshi gave you?"
        )
    link: BaseException | None = problem
    while link is not None:
        link.__traceback__ = link.__context__ = None
        link = link.__cause__
    return problem


def _key_from_env(environ: Mapping[str, str]) -> _Key:
    api_key_id, path, pem, password = (
        environ.get(name, "") for name in (KEY_ID_VARIABLE, PATH_VARIABLE, PEM_VARIABLE, PASSWORD_VARIABLE)
    )
    missing = [] if api_key_id else [KEY_ID_VARIABLE]
    if not path and not pem:
        missing.append(f"{PATH_VARIABLE} (the key file) or {PEM_VARIABLE} (the key itself)")
    if missing:
        raise CredentialsError(f"not set in the environment: {' and '.join(missing)}")
    if path and pem:
        raise CredentialsError(
            f"{PATH_VARIABLE} and {PEM_VARIABLE} are both set: unset the one you do not mean"
        )
    try:
        if path:
            return _key_from_file(api_key_id, path, password)
        return _key_from_pem(api_key_id, pem, password, PEM_VARIABLE)
    except CredentialsError as error:
        if error.argument is None:
            raise
        raise CredentialsError(error.problem, _VARIABLES[error.argument]) from error.__cause__


def _key_from_file(api_key_id: str, path: str | os.PathLike[str], password: str | bytes | None) -> _Key:
    _check_key_id(api_key_id)
    if not isinstance(path, (str, os.PathLike)):
        raise CredentialsError(f"path must be a str or a Path, not {type(path).__name__}")
    name = os.path.expanduser(os.fspath(path))
    if "-----BEGIN" in name or _PEM_BODY.fullmatch(name.strip()):
        raise CredentialsError("is the key itself, not the path of its file", "path")
    if not name or "\0" in name:
        raise CredentialsError(
            "the path of the private key is empty" if not name else "the path contains a NUL character"
        )
    content, mode = _read(name)
    key = _key_from_pem(api_key_id, content, password, f"the file {name!r}")
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077 and _first_time(os.path.realpath(name)):
        logger.warning(
            "other users can read the private key file %r (mode %04o): chmod 600 it", name, mode & 0o777
        )
    return key


def _key_from_pem(
    api_key_id: str, pem: str | bytes, password: str | bytes | None, source: str = "the given key"
) -> _Key:
    _check_key_id(api_key_id)
    if password is not None and not isinstance(password, (str, bytes)):
        raise CredentialsError(f"password must be str, bytes or None, not {type(password).__name__}")
    secret = password.encode() if isinstance(password, str) else password
    label, block = _pem_block(pem, source)
    return _Key(api_key_id, _checked_key(_load(label, block, secret or None, source), source))


def _check_key_id(api_key_id: str) -> None:
    """Check the id: it goes into a header unchanged, so it must be visible ASCII."""
    if not isinstance(api_key_id, str):
        raise CredentialsError(f"api_key_id must be a str, not {type(api_key_id).__name__}")
    if not api_key_id:
        raise CredentialsError("the API key id is empty: copy it from Kalshi's API keys page")
    if "-----BEGIN" in api_key_id:
        raise CredentialsError("the API key id is a PEM key: did you swap the two arguments?")
    if not all("!" <= character <= "~" for character in api_key_id):
        raise CredentialsError(
            "the API key id contains spaces, line breaks or non-ASCII characters: remove them"
        )


def _read(name: str) -> tuple[bytes, int]:
    """Return the file's content, which must be small, and its mode."""
    try:
        with open(name, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_BYTES + 1)
    except FileNotFoundError as error:
        raise CredentialsError(f"there is no private key file {name!r}") from error
    except IsADirectoryError as error:
        raise CredentialsError(
            f"{name!r} is a directory: pass the path of the private key file in it"
        ) from error
    except PermissionError as error:
        raise CredentialsError(
            f"this user may not read the private key file {name!r}: change its owner"
        ) from error
    except OSError as error:
        raise CredentialsError(f"the private key file {name!r} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_KEY_BYTES:
        raise CredentialsError(f"the file {name!r} is too large for a private key")
    return content, mode


_warned: set[str] = set()
_warned_lock = threading.Lock()  # guards _warned; nothing else is called under it


def _first_time(name: str) -> bool:
    with _warned_lock:
        first = name not in _warned
        _warned.add(name)
    return first


def _pem_block(pem: str | bytes, source: str) -> tuple[str, bytes]:
    """Return the label and content of the first private key in ``pem``, with its line breaks restored."""
    if not isinstance(pem, (str, bytes)):
        raise CredentialsError(f"pem must be str or bytes, not {type(pem).__name__}")
    if isinstance(pem, bytes):
        try:
            pem = pem.decode()
        except UnicodeDecodeError:  # it holds the content, so it is not kept as the cause
            raise CredentialsError(
                f"{source} is not UTF-8 (binary DER, or UTF-16?): save it as PEM, for example with "
                "`openssl pkey`"
            ) from None
    text = pem.replace("\\r", "").replace("\\n", "\n").strip("\ufeff\"' \t\r\n")
    if not text:
        raise CredentialsError(f"{source} is empty")
    blocks = list(_PEM_BLOCK.finditer(text))
    for block in blocks:
        label = block[1]
        if label.endswith("PRIVATE KEY"):
            body = block[2].strip()
            # an encrypted PKCS#1 key has "Proc-Type: 4,ENCRYPTED" and an empty line before its body
            lines = [line.strip() for line in body.splitlines()] if ":" in body else body.split()
            return label, "\n".join(
                (f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "")
            ).encode()
    raise CredentialsError(_why_no_key(text, source, blocks[0][1] if blocks else ""))


def _why_no_key(text: str, source: str, label: str) -> str:
    """Say what a string without a complete private key seems to be."""
    if "PUBLIC KEY" in label or text.startswith(("ssh-", "ecdsa-")):
        return (
            f"{source} is a public key: you need the private key, which Kalshi shows once, when you create "
            "the API key"
        )
    if label.endswith("CERTIFICATE"):
        return f"{source} is a certificate, not a private key"
    if "-----BEGIN" in text and not label:
        return f"{source} is cut off: its -----END line is missing or does not match"
    if _PEM_BODY.fullmatch(text):
        return f"{source} has no -----BEGIN and -----END lines: copy the key with them"
    if "\n" not in text and len(text) < 256 and ("/" in text or text.endswith((".pem", ".key", ".txt"))):
        where = PATH_VARIABLE if source == PEM_VARIABLE else "from_file()"
        return f"{source} looks like a path, not like a key: use {where}"
    return f"{source} is not a private key in PEM form (-----BEGIN … PRIVATE KEY-----)"


def _load(label: str, block: bytes, password: bytes | None, source: str) -> object:
    """Load a key of any type. A password for an unencrypted key is ignored: the environment may have one."""
    load = (
        serialization.load_ssh_private_key if label == _OPENSSH_LABEL else serialization.load_pem_private_key
    )
    try:
        return load(block, password)
    except TypeError as error:
        if password is not None:
            return _load(label, block, None, source)
        raise CredentialsError(f"is missing: {source} is encrypted", "password") from error
    except UnsupportedAlgorithm as error:
        raise CredentialsError(
            f"{source} has an unsupported type of key or encryption: rewrite it with `openssl pkey` "
            "(OpenSSH format: `ssh-keygen -p -m PKCS8`)"
        ) from error
    except ValueError as error:
        if (
            label.startswith("ENCRYPTED")
            or b"ENCRYPTED" in block[:200]
            or (label == _OPENSSH_LABEL and password)
        ):
            raise CredentialsError(f"the password of {source} is wrong, or the key is damaged") from error
        raise CredentialsError(
            f"{source} is damaged or cut off: there is no key between its BEGIN and END lines"
        ) from error


def _checked_key(key: object, source: str) -> RSAPrivateKey | Ed25519PrivateKey:
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            raise CredentialsError(
                f"{source} is an RSA key of {key.key_size} bits: it needs at least {_MIN_RSA_BITS}"
            )
        return key
    kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
    raise CredentialsError(f"{source} is a key of type {kind}: Kalshi accepts RSA and Ed25519 keys")
