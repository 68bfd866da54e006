"""Urls of a Redis, and where a password comes from (relay/address.py)."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from kalshi_feed import ConfigurationError
from kalshi_feed.relay.address import RedisLogin, parse_redis_url, relay_password
from tests.faults.secrets import shown_with_locals

PASSWORD = "hunter2-secret"


@pytest.mark.parametrize(
    ("url", "redacted", "host", "port", "database", "credentials"),
    [
        ("redis://cache", "redis://cache:6379", "cache", 6379, 0, None),
        ("redis://cache/", "redis://cache:6379", "cache", 6379, 0, None),
        (
            "rediss://relay:a%2Fb%40c@cache:7000/3",
            "rediss://cache:7000/3",
            "cache",
            7000,
            3,
            ("relay", "a/b@c"),
        ),
        ("redis://:secret@[::1]:7000/0", "redis://[::1]:7000", "::1", 7000, 0, ("secret",)),
        ("redis://relay@10.0.0.1", "redis://10.0.0.1:6379", "10.0.0.1", 6379, 0, ("relay", "")),
        ("unix:///run/redis.sock", "unix:///run/redis.sock", "", 0, 0, None),
        ("unix://u:p@/run/my%20redis?db=2", "unix:///run/my redis?db=2", "", 0, 2, ("u", "p")),
    ],
)
def test_urls(
    url: str, redacted: str, host: str, port: int, database: int, credentials: tuple[str, ...] | None
) -> None:
    address = parse_redis_url(url)
    assert (address.redacted, address.host, address.port) == (redacted, host, port)
    assert address.database == database
    assert (address.login.get_credentials() if address.login else None) == credentials
    assert address.is_secure == url.startswith("rediss")
    assert PASSWORD not in f"{address} {address!r} {address.login!r} {vars(address)!r}"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (b"redis://host", "must be a str"),
        ("", "must start with redis://"),
        ("host:6379", "must start with redis://"),
        ("http://host", "must start with redis://"),
        ("redis:host", "must start with redis://"),
        ("redis+sentinel://host/main", "must start with redis://"),
        (f"redis://:{PASSWORD}@ho st", "percent-encode"),
        (f"redis://:{PASSWORD}@[::1", "cannot be parsed"),
        (f"redis://:{PASSWORD}@", "has no host"),
        ("redis:///0", "has no host"),
        (f"redis://:{PASSWORD}@a..b", "invalid host name"),
        ("redis://host:0", "port"),
        ("redis://host:70000", "port"),
        (f"redis://user:{PASSWORD}/x@host", "write %2F"),
        (f"redis://user:x@{PASSWORD}/y@host", "write %40|%2F"),
        (f"redis://user:x?{PASSWORD}@host", "write %3F"),
        (f"redis://user:x#{PASSWORD}@host", "write %23"),
        ("redis://host/main", "database that is not a number"),
        ("redis://host/0/1", "database that is not a number"),
        ("redis://host/99999999999", "database that is not a number"),
        ("unix:///run/redis.sock?db=x", "database that is not a number"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///", "three slashes"),
        ("rediss://host?ssl_cert_reqs=none", "always verified"),
        ("rediss://host?ssl_check_hostname=false", "always checked"),
        (f"redis://host?password={PASSWORD}", "KALSHI_RELAY_PASSWORD"),
        ("redis://host?db=1", "redis://host:6379/0"),
        ("redis://host?socket_timeout=1", "only unix:// takes one"),
        ("redis://host?decode_responses", "only unix:// takes one"),
    ],
)
def test_urls_that_cannot_work(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        parse_redis_url(url)
    assert caught.value.argument == "url"
    assert not any(PASSWORD in text for text in shown_with_locals(caught.value))


def test_a_password_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    named = {"KALSHI_RELAY_PASSWORD_FILE": str(file)}
    assert relay_password({}) is None
    assert relay_password({"KALSHI_RELAY_PASSWORD": "", "KALSHI_RELAY_PASSWORD_FILE": ""}) is None
    assert relay_password({"KALSHI_RELAY_PASSWORD": PASSWORD}) == PASSWORD
    with pytest.raises(
        ConfigurationError, match=r"^KALSHI_RELAY_PASSWORD_FILE names the file .* No such file"
    ):
        relay_password(named)
    for content, password in ((b"a b\n", "a b"), (b"a\r\n", "a"), ("ä".encode(), "ä"), (b" a ", " a ")):
        file.write_bytes(content)
        assert relay_password(named) == password
    file.write_text(PASSWORD)
    with pytest.raises(ConfigurationError, match="is set, and so is") as caught:
        relay_password({**named, "KALSHI_RELAY_PASSWORD": PASSWORD})
    assert caught.value.argument == "KALSHI_RELAY_PASSWORD_FILE"
    wrong = [
        b"",
        b"\n",
        f"{PASSWORD}\n{PASSWORD}\n".encode(),
        PASSWORD.encode() + b"\xff",
        PASSWORD.encode() * 9999,
    ]
    for content in wrong:
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="the password and nothing else") as caught:
            relay_password(named)
        assert not any(PASSWORD in text for text in shown_with_locals(caught.value))


def test_a_login_shows_no_password_and_stays_in_its_process() -> None:
    login = RedisLogin("relay", PASSWORD)
    assert PASSWORD not in repr(login) + str(login)
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            take(login)
