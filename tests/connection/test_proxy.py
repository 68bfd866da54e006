from __future__ import annotations

import pytest

from kalshi_feed.connection.proxy import Proxy, connect_request, find_proxy, parse_proxy
from kalshi_feed.connection.url import parse_url
from kalshi_feed.errors import ConfigurationError

REMOTE = parse_url("wss://external-api-ws.kalshi.com/trade-api/ws/v2")
LOOPBACK = parse_url("wss://localhost:9001/")
ENVIRON = {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:2", "all_proxy": "http://all:3"}


def test_P05_credentials_are_hidden() -> None:
    proxy = parse_proxy("http://user:p%40ss%3Aword@proxy.example:3128")
    assert (proxy.host, proxy.port, proxy.username, proxy.password) == (
        "proxy.example",
        3128,
        "user",
        "p@ss:word",
    )
    for text in (repr(proxy), str(proxy), f"{proxy}"):
        assert "user" not in text and "p@ss" not in text
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNzOndvcmQ=\r\n" in connect_request(REMOTE, proxy)


def test_connect_request_has_the_target_and_nothing_of_kalshi() -> None:
    assert connect_request(REMOTE, Proxy("p", 1)) == (
        b"CONNECT external-api-ws.kalshi.com:443 HTTP/1.1\r\nHost: external-api-ws.kalshi.com:443\r\n\r\n"
    )


def test_short_forms() -> None:
    assert parse_proxy("proxy.example:3128") == Proxy("proxy.example", 3128)
    assert parse_proxy("HTTP://proxy.example/") == Proxy("proxy.example", 80)
    assert parse_proxy("http://[::1]:3128").authority == "[::1]:3128"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("socks5://user:hunter2secret@h:1", "SOCKS"),
        ("https://user:hunter2secret@h:1", "https:// proxy"),
        ("ftp://user:hunter2secret@h:1", "must be a url like"),
        ("http://user:hunter2secret@h:port", "cannot be parsed"),
        ("http://user:hunter2secret@", "cannot be parsed"),
        ("http://h:0", "cannot be parsed"),
        ("http://user:hunter2secret@h:1/path", "more than a host"),
        ("http://user:hunter2 secret@h", "a space"),
        (True, "not bool"),
        (7, "not int"),
    ],
)
def test_refuses_without_showing_the_url(url: object, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_proxy(url)  # type: ignore[arg-type]
    assert hint in str(caught.value) and "hunter2" not in str(caught.value)


def test_explicit_wins_also_for_loopback() -> None:
    assert find_proxy(LOOPBACK, "http://127.0.0.2:9", ENVIRON) == Proxy("127.0.0.2", 9)
    assert find_proxy(REMOTE, "http://mine:9", ENVIRON) == Proxy("mine", 9)
    assert find_proxy(REMOTE, Proxy("mine", 9), ENVIRON) == Proxy("mine", 9)
    assert find_proxy(REMOTE, "", ENVIRON) is None
    assert find_proxy(REMOTE, False, ENVIRON) is None
    with pytest.raises(ConfigurationError):
        find_proxy(REMOTE, True, ENVIRON)


@pytest.mark.parametrize("proxy", ["http://mine:9", Proxy("10.0.0.1", 9)])
@pytest.mark.parametrize("url", ["ws://localhost:9001/", "wss://127.0.0.1:9001/"])
def test_P06_K08_what_is_allowed_on_loopback_is_not_done_toward_a_proxy(url: str, proxy: str | Proxy) -> None:
    with pytest.raises(ConfigurationError, match="another machine"):
        find_proxy(parse_url(url), proxy, {})


def test_environment_order() -> None:
    environ = dict(ENVIRON)
    for host in ("lower", "upper", "all"):
        found = find_proxy(REMOTE, None, environ)
        assert found is not None and found.host == host
        del environ[next(iter(environ))]
    assert find_proxy(REMOTE, None, environ) is None
    assert find_proxy(REMOTE, None, {"http_proxy": "http://other:1"}) is None
    with pytest.raises(
        ConfigurationError, match=r"environment variable ALL_PROXY is a SOCKS proxy.*set NO_PROXY="
    ):
        find_proxy(REMOTE, None, {"ALL_PROXY": "socks5h://h:1"})


def test_how_to_bypass_it_depends_on_where_it_was_named() -> None:
    for explicit, how in ((None, "set NO_PROXY='*'"), ("http://mine:9", "pass proxy=''")):
        found = find_proxy(REMOTE, explicit, {"HTTPS_PROXY": "http://h:1"})
        assert found is not None and found.how_to_bypass == f"{how} to connect directly"


def test_P06_loopback_is_never_sent_through_the_environments_proxy() -> None:
    assert find_proxy(LOOPBACK, None, ENVIRON) is None


@pytest.mark.parametrize(
    ("no_proxy", "excluded"),
    [
        ("*", True),
        ("kalshi.com", True),
        (".kalshi.com", True),
        ("*.kalshi.com", True),
        ("a.example, external-api-ws.KALSHI.com:443", True),
        ("external-api-ws.kalshi.com:8443", False),
        ("lshi.com", False),
        ("10.0.0.0/8", False),
        ("", False),
        (".", False),
    ],
)
def test_P06_no_proxy(no_proxy: str, excluded: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (find_proxy(REMOTE, None, {**ENVIRON, name: no_proxy}) is None) is excluded


def test_P06_no_proxy_with_networks() -> None:
    endpoint = parse_url("wss://10.1.2.3/")
    assert find_proxy(endpoint, None, {**ENVIRON, "no_proxy": "10.0.0.0/8"}) is None
    assert find_proxy(endpoint, None, {**ENVIRON, "no_proxy": "10.1.2.3"}) is None
    assert find_proxy(endpoint, None, {**ENVIRON, "no_proxy": "192.168.0.0/16"}) is not None
