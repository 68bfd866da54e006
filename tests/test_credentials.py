"""Credentials: every way in, the signatures, every wrong key, and that the secret stays inside.

K02 to K07 are rows of the fault matrix.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import logging
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kalshi_feed.credentials import Credentials
from kalshi_feed.errors import ConfigurationError, CredentialsError

KEY_ID = "a952bcbe-ec3b-4b5b-b8f9-11dae589608c"
PASSWORD = "correct horse"
WRONG_PASSWORD = "battery staple"
PATH = "/trade-api/ws/v2"

PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
OPENSSH = serialization.PrivateFormat.OpenSSH

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED_KEY = Ed25519PrivateKey.generate()


def pem_of(key: Any, form: serialization.PrivateFormat = PKCS8, password: str = "") -> str:
    lock = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    return str(key.private_bytes(serialization.Encoding.PEM, form, lock).decode())


def body(pem: str) -> list[str]:
    """The secret lines of a PEM key."""
    return [line for line in pem.splitlines() if line and not line.startswith("-----") and ":" not in line]


RSA_PEM = pem_of(RSA_KEY, PKCS1)
ED_PEM = pem_of(ED_KEY)
LOCKED_PKCS8 = pem_of(RSA_KEY, PKCS8, PASSWORD)
LOCKED_PKCS1 = pem_of(RSA_KEY, PKCS1, PASSWORD)
PUBLIC_PEM = (
    RSA_KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
PUBLIC_SSH = (
    ED_KEY.public_key()
    .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    .decode()
)
DER = RSA_KEY.private_bytes(serialization.Encoding.DER, PKCS8, serialization.NoEncryption())
HEAD, *LINES, TAIL = RSA_PEM.splitlines()


def signed_by(credentials: Credentials, key: Any, text: str = "text", signature: str | None = None) -> bool:
    """Whether ``key``'s public half verifies the signature of ``text``, as the exchange would check."""
    raw = base64.b64decode(signature or credentials.sign(text), validate=True)
    try:
        if isinstance(key, RSAPrivateKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
            key.public_key().verify(raw, text.encode(), pss, hashes.SHA256())
        else:
            key.public_key().verify(raw, text.encode())
    except InvalidSignature:
        return False
    return True


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block raises a CredentialsError with ``words`` in its message and no secret anywhere (K02)."""
    with pytest.raises(CredentialsError) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    seen = carried_by(caught.value)
    assert "credentials.py" in seen
    for secret in (
        PASSWORD,
        WRONG_PASSWORD,
        *body(RSA_PEM),
        *body(ED_PEM),
        *body(LOCKED_PKCS8),
        *body(LOCKED_PKCS1),
    ):
        assert secret not in seen


def carried_by(error: BaseException) -> str:
    """Everything a debugger shows of an error: messages, arguments, causes and locals, without the tests'."""
    parts = [f"{error} {error!r} {error.args!r} {vars(error)}"]
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if frame.filename != __file__:
            parts.append(f"{frame.filename} {frame.name} {frame.locals}")
    parts += [carried_by(linked) for linked in (error.__cause__, error.__context__) if linked is not None]
    return "\n".join(parts)


# --- the ways in


@pytest.mark.parametrize(
    "pem",
    [
        RSA_PEM,
        RSA_PEM.encode(),
        pem_of(RSA_KEY, PKCS8),
        pem_of(RSA_KEY, OPENSSH),
        RSA_PEM.replace("\n", "\\n"),
        RSA_PEM.replace("\n", "\\r\\n"),
        RSA_PEM.replace("\n", "\r\n"),
        RSA_PEM.replace("\n", "\r"),
        RSA_PEM.replace("\n", " "),
        "\ufeff" + RSA_PEM,
        b"\xef\xbb\xbf" + RSA_PEM.replace("\n", "\r\n").encode(),
        f' "{RSA_PEM}" \n',
        "'" + RSA_PEM.replace("\n", "\\n") + "'",
        "\n".join("    " + line for line in RSA_PEM.splitlines()),
        "Bag Attributes\n    friendlyName: kalshi\n" + RSA_PEM,
        PUBLIC_PEM + RSA_PEM,
    ],
    ids=count(),
)
def test_K07_key_text_however_it_was_handed_on(pem: str | bytes) -> None:
    credentials = Credentials.from_pem(KEY_ID, pem)
    assert credentials.key_type == "RSA"
    assert credentials.api_key_id == KEY_ID
    assert signed_by(credentials, RSA_KEY)


@pytest.mark.parametrize("pem", [ED_PEM, ED_PEM.replace("\n", "\\n"), pem_of(ED_KEY, OPENSSH)], ids=count())
def test_ed25519_key(pem: str) -> None:
    credentials = Credentials.from_pem(KEY_ID, pem)
    assert credentials.key_type == "Ed25519"
    assert signed_by(credentials, ED_KEY)


@pytest.mark.parametrize("password", [PASSWORD, PASSWORD.encode()])
@pytest.mark.parametrize("pem", [LOCKED_PKCS8, LOCKED_PKCS1, LOCKED_PKCS1.replace("\n", "\\n")], ids=count())
def test_encrypted_key(pem: str, password: str | bytes) -> None:
    assert signed_by(Credentials.from_pem(KEY_ID, pem, password), RSA_KEY)


@pytest.mark.parametrize("pem", [RSA_PEM, pem_of(RSA_KEY, OPENSSH)], ids=count())
def test_password_for_a_plain_key_is_ignored(pem: str) -> None:
    assert signed_by(Credentials.from_pem(KEY_ID, pem, PASSWORD), RSA_KEY)


def test_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "kalshi.key"
    file.write_text(RSA_PEM)
    (tmp_path / "link").symlink_to(file)
    for path in (file, str(file), "~/kalshi.key", tmp_path / "link"):
        assert signed_by(Credentials.from_file(KEY_ID, path), RSA_KEY)


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kalshi.key"
    file.write_text(LOCKED_PKCS8)
    named = {
        "KALSHI_API_KEY_ID": KEY_ID,
        "KALSHI_PRIVATE_KEY_PATH": str(file),
        "KALSHI_PRIVATE_KEY": "",
        "KALSHI_PRIVATE_KEY_PASSWORD": PASSWORD,
    }
    assert signed_by(Credentials.from_env(named), RSA_KEY)
    assert (
        Credentials.from_env({"KALSHI_API_KEY_ID": KEY_ID, "KALSHI_PRIVATE_KEY": ED_PEM}).key_type
        == "Ed25519"
    )
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert Credentials.from_env().api_key_id == KEY_ID


# --- what comes out


@pytest.mark.parametrize(("pem", "key"), [(RSA_PEM, RSA_KEY), (ED_PEM, ED_KEY)], ids=["RSA", "Ed25519"])
def test_headers_of_the_handshake(pem: str, key: Any) -> None:
    credentials = Credentials.from_pem(KEY_ID, pem)
    headers = credentials.headers(PATH, 1760000000123)
    assert headers == {
        "KALSHI-ACCESS-KEY": KEY_ID,
        "KALSHI-ACCESS-SIGNATURE": headers["KALSHI-ACCESS-SIGNATURE"],
        "KALSHI-ACCESS-TIMESTAMP": "1760000000123",
    }
    signature = headers["KALSHI-ACCESS-SIGNATURE"]
    assert signed_by(credentials, key, f"1760000000123GET{PATH}", signature)
    assert not signed_by(credentials, key, f"1760000000124GET{PATH}", signature)


@pytest.mark.parametrize(
    ("path", "now_ms"),
    [
        ("wss://host/trade-api/ws/v2", 1),
        (PATH + "?a=b", 1),
        (PATH + "#x", 1),
        ("", 1),
        (PATH, 1760000000.123),
    ],
)
def test_headers_that_the_exchange_would_refuse(path: str, now_ms: Any) -> None:
    with pytest.raises(ConfigurationError):
        Credentials.from_pem(KEY_ID, ED_PEM).headers(path, now_ms)


def test_signing_from_many_threads_at_once() -> None:
    credentials = Credentials.from_pem(KEY_ID, RSA_PEM)
    good: list[bool] = []

    def sign(number: int) -> None:
        good.extend(signed_by(credentials, RSA_KEY, f"{number}.{turn}") for turn in range(10))

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert good == [True] * 80


# --- wrong keys

WRONG_KEYS: dict[str, tuple[str | bytes, str | None, str]] = {
    "empty": ("", None, "is empty"),
    "blank": (' "\n" ', None, "is empty"),
    "garbage": ("not a key at all", None, "not a private key in PEM form"),
    "binary": (DER, None, "UTF-8"),
    "latin-1": (RSA_PEM.encode() + "clé".encode("latin-1"), None, "UTF-8"),
    "utf-16": (RSA_PEM.encode("utf-16"), None, "UTF-8"),
    "no END line": ("\n".join((HEAD, *LINES)), None, "cut off"),
    "cut in the middle": (RSA_PEM[: len(RSA_PEM) // 2], None, "cut off"),
    "other END line": (RSA_PEM.replace("END RSA", "END EC"), None, "cut off"),
    "lines missing": ("\n".join((HEAD, *LINES[:4], TAIL)), None, "damaged"),
    "letters changed": (RSA_PEM.replace(LINES[5], LINES[5][::-1]), None, "damaged"),
    "nothing between": (f"{HEAD}\n{TAIL}", None, "damaged"),
    "no base64": (f"{HEAD}\n***\n{TAIL}", None, "damaged"),
    "no BEGIN line": ("".join(LINES), None, "no -----BEGIN"),
    "path": ("/home/me/kalshi.key", None, "from_file()"),
    "file name": ("kalshi.pem", None, "from_file()"),
    "public": (PUBLIC_PEM, None, "public key"),
    "public ssh": (PUBLIC_SSH, None, "public key"),
    "certificate": ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", None, "certificate"),
    "EC": (pem_of(ec.generate_private_key(ec.SECP256R1())), None, "type EC:"),
    "EC PKCS#1": (pem_of(ec.generate_private_key(ec.SECP256R1()), PKCS1), None, "type EC:"),
    "DSA": (pem_of(dsa.generate_private_key(1024)), None, "type DSA:"),
    "X25519": (pem_of(x25519.X25519PrivateKey.generate()), None, "type X25519:"),
    "Ed448": (pem_of(ed448.Ed448PrivateKey.generate()), None, "type Ed448:"),
    "RSA of 1024 bits": (pem_of(rsa.generate_private_key(65537, 1024)), None, "1024 bits"),
    "password missing": (LOCKED_PKCS8, None, "password is missing: the given key is encrypted"),
    "password missing, PKCS#1": (LOCKED_PKCS1, None, "password is missing"),
    "password empty": (LOCKED_PKCS8, "", "password is missing"),
    "password wrong": (LOCKED_PKCS8, WRONG_PASSWORD, "password"),
    "password wrong, PKCS#1": (LOCKED_PKCS1, WRONG_PASSWORD, "password"),
    "password that cannot be encoded": (LOCKED_PKCS8, "\udcff", "UnicodeEncodeError"),
    "too large": (RSA_PEM + "x" * 70_000, None, ""),
}


@pytest.mark.parametrize(
    ("pem", "password", "words"),
    [pytest.param(*case, id=name) for name, case in WRONG_KEYS.items() if name != "too large"],
)
def test_K07_wrong_key_text(pem: str | bytes, password: str | None, words: str) -> None:
    with refused(words):
        Credentials.from_pem(KEY_ID, pem, password)


@pytest.mark.parametrize(
    ("pem", "password"), [pytest.param(*case[:2], id=name) for name, case in WRONG_KEYS.items()]
)
def test_K07_wrong_key_file_is_named(pem: str | bytes, password: str | None, tmp_path: Path) -> None:
    file = tmp_path / "wrong"
    file.write_bytes(pem.encode() if isinstance(pem, str) else pem)
    with refused("" if password == "\udcff" else str(file)):
        Credentials.from_file(KEY_ID, file, password)


@pytest.mark.parametrize("value", [None, 5, RSA_KEY, bytearray(RSA_PEM.encode())])
def test_arguments_of_the_wrong_type(value: Any) -> None:
    with refused("must be"):
        Credentials.from_pem(KEY_ID, value)
    with refused("must be"):
        Credentials.from_pem(value, RSA_PEM)
    with refused("must be"):
        Credentials.from_file(KEY_ID, value)
    if value is not None:
        with refused("must be"):
            Credentials.from_pem(KEY_ID, LOCKED_PKCS8, value)


@pytest.mark.parametrize(
    ("api_key_id", "word"),
    [
        ("", "empty"),
        (" ", "spaces"),
        (KEY_ID + "\n", "line breaks"),
        (KEY_ID + "\r\nX-Other: 1", "line breaks"),
        (" " + KEY_ID, "spaces"),
        (KEY_ID + "é", "ASCII"),
        (RSA_PEM, "swap the two"),
    ],
    ids=count(),
)
def test_wrong_key_id(api_key_id: str, word: str, tmp_path: Path) -> None:
    with refused(word):
        Credentials.from_pem(api_key_id, RSA_PEM)
    with refused(word):
        Credentials.from_file(api_key_id, tmp_path / "not looked for")
    if api_key_id:
        with refused(word):
            Credentials.from_env({"KALSHI_API_KEY_ID": api_key_id, "KALSHI_PRIVATE_KEY": RSA_PEM})


@pytest.mark.parametrize(
    "text",
    [RSA_PEM, "".join(LINES), body(ED_PEM)[0], ED_PEM.replace("\n", "\\n")],
    ids=["PEM", "one line", "body", "escaped"],
)
def test_key_text_in_the_place_of_a_path_is_not_shown(text: str) -> None:
    with refused("path is the key itself, not the path of its file"):
        Credentials.from_file(KEY_ID, text)


def test_K06_file_that_cannot_be_read(tmp_path: Path) -> None:
    with refused("there is no", "missing.key"):
        Credentials.from_file(KEY_ID, tmp_path / "missing.key")
    with refused("directory", str(tmp_path)):
        Credentials.from_file(KEY_ID, tmp_path)
    with refused("empty"):
        Credentials.from_file(KEY_ID, "")
    with refused("NUL"):
        Credentials.from_file(KEY_ID, "a\0b")
    with refused("cannot be read"):
        Credentials.from_file(KEY_ID, tmp_path / ("x" * 300))
    if os.path.exists("/dev/zero"):
        with refused("too large"):
            Credentials.from_file(KEY_ID, "/dev/zero")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
def test_K06_file_of_another_user(tmp_path: Path) -> None:
    file = tmp_path / "kalshi.key"
    file.write_text(RSA_PEM)
    file.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(65534)
    try:
        with refused("may not read", str(file)):
            Credentials.from_file(KEY_ID, file)
    finally:
        if as_root:
            os.seteuid(0)


def test_errors_name_the_variable_at_fault() -> None:
    key_id = {"KALSHI_API_KEY_ID": KEY_ID}
    with refused("KALSHI_PRIVATE_KEY_PATH is the key itself"):
        Credentials.from_env(key_id | {"KALSHI_PRIVATE_KEY_PATH": RSA_PEM})
    with refused("KALSHI_PRIVATE_KEY_PASSWORD is missing: KALSHI_PRIVATE_KEY is encrypted"):
        Credentials.from_env(key_id | {"KALSHI_PRIVATE_KEY": LOCKED_PKCS8})
    with refused("KALSHI_PRIVATE_KEY looks like a path, not like a key: use KALSHI_PRIVATE_KEY_PATH"):
        Credentials.from_env(key_id | {"KALSHI_PRIVATE_KEY": "/home/me/kalshi.key"})


def test_environment_that_says_too_little_or_too_much(tmp_path: Path) -> None:
    with refused("KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY_PATH", "KALSHI_PRIVATE_KEY "):
        Credentials.from_env({})
    with refused("not set in the environment: KALSHI_API_KEY_ID"):
        Credentials.from_env({"KALSHI_PRIVATE_KEY": RSA_PEM, "KALSHI_PRIVATE_KEY_PASSWORD": PASSWORD})
    with refused("not set in the environment: KALSHI_PRIVATE_KEY_PATH"):
        Credentials.from_env({"KALSHI_API_KEY_ID": KEY_ID, "KALSHI_PRIVATE_KEY": ""})
    with refused("both set"):
        Credentials.from_env(
            {
                "KALSHI_API_KEY_ID": KEY_ID,
                "KALSHI_PRIVATE_KEY": RSA_PEM,
                "KALSHI_PRIVATE_KEY_PATH": str(tmp_path),
            }
        )


# --- the secret stays inside


@pytest.fixture
def credentials() -> Credentials:
    return Credentials.from_pem(KEY_ID, RSA_PEM)


def test_K02_the_search_for_secrets_finds_them() -> None:
    """The check in `refused` can fail: json's frames hold the string they were given."""
    import json

    with pytest.raises(ValueError) as caught:
        json.loads(RSA_PEM)
    assert LINES[0] in carried_by(caught.value)


def test_K04_what_is_shown_of_them(credentials: Credentials) -> None:
    assert repr(credentials) == "<Credentials a952… RSA>"
    for shown in (str(credentials), f"{credentials}", f"{credentials!s}", repr([credentials])):
        assert KEY_ID[:4] in shown
        assert KEY_ID[:5] not in shown
    with pytest.raises(TypeError):
        vars(credentials)
    assert not hasattr(credentials, "__dict__")


@dataclasses.dataclass
class Holder:
    """A config object into which an application may put credentials."""

    credentials: Credentials


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        *(lambda c, p=p: pickle.dumps(c, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_K05_cannot_be_pickled_or_copied(credentials: Credentials, copied: Callable[[Any], Any]) -> None:
    for thing in (credentials, [credentials] if copied is not copy.copy else credentials):
        with pytest.raises(TypeError, match="private key"):
            copied(thing)
    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(credentials))


def test_immutable(credentials: Credentials) -> None:
    for name in ("api_key_id", "_api_key_id", "_private_key", "other"):
        with pytest.raises(AttributeError):
            setattr(credentials, name, "x")
        with pytest.raises(AttributeError):
            delattr(credentials, name)
    with pytest.raises(TypeError, match="from_file") as caught:
        Credentials(KEY_ID, RSA_PEM)
    assert LINES[0] not in carried_by(caught.value)


def test_K06_key_file_open_to_others_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, link = tmp_path / "kalshi.key", tmp_path / "link"
    file.write_text(RSA_PEM)
    link.symlink_to(file)
    file.chmod(0o600)
    with caplog.at_level(logging.DEBUG):
        Credentials.from_file(KEY_ID, file)
        assert caplog.records == []
        for mode in (0o640, 0o604, 0o644):
            file.chmod(mode)
            Credentials.from_file(KEY_ID, file)
            Credentials.from_file(KEY_ID, link)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert str(file) in record.getMessage()
    assert "0640" in record.getMessage()
    assert "chmod 600" in record.getMessage()


def test_a_public_key_may_be_read_by_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "kalshi.pub"
    file.write_text(PUBLIC_PEM)
    file.chmod(0o644)
    with refused("is a public key"):
        Credentials.from_file(KEY_ID, file)
    assert caplog.records == []
