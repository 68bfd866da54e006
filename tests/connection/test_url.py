from __future__ import annotations

import pytest

from kalshi_feed.connection.url import is_loopback_host, parse_rest_url, parse_url
from kalshi_feed.errors import ConfigurationError


def test_takes_a_url_apart() -> None:
    endpoint = parse_url("wss://external-api-ws.kalshi.com/trade-api/ws/v2")
    assert (endpoint.scheme, endpoint.host, endpoint.port) == ("wss", "external-api-ws.kalshi.com", 443)
    assert endpoint.path == endpoint.sign_path == "/trade-api/ws/v2"
    assert not endpoint.is_loopback and endpoint.is_secure


def test_K09_query_is_sent_but_not_signed_and_not_shown() -> None:
    endpoint = parse_url("WSS://Example.com:8443/a/b?token=secret")
    assert endpoint.path == "/a/b?token=secret"
    assert endpoint.sign_path == "/a/b"
    assert endpoint.host == "example.com"
    for text in (endpoint.redacted, str(endpoint), repr(endpoint)):
        assert "secret" not in text and "example.com:8443/a/b" in text


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("ws://localhost", "localhost", 80, "/"),
        ("ws://127.0.0.1:9001/x", "127.0.0.1", 9001, "/x"),
        ("ws://[::1]:9001/x", "::1", 9001, "/x"),
    ],
)
def test_loopback_may_be_plain(url: str, host: str, port: int, path: str) -> None:
    endpoint = parse_url(url)
    assert (endpoint.host, endpoint.port, endpoint.path, endpoint.is_loopback) == (host, port, path, True)
    assert parse_url(endpoint.url) == endpoint


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("ws://external-api-ws.kalshi.com/trade-api/ws/v2", "write wss://"),
        ("ws://127.0.0.1.example.com/", "write wss://"),
        ("ws://10.0.0.1/", "write wss://"),
        ("https://external-api-ws.kalshi.com/", "wss://"),
        ("ftp://example.com", "wss://"),
        ("external-api-ws.kalshi.com", "wss://"),
        ("wss:external-api-ws.kalshi.com", "wss://"),
        ("", "wss://"),
        ("wss://user:hunter2secret@example.com/", "signed headers; remove it"),
        ("wss://example.com/#part", "fragment"),
        ("wss://example.com/#", "fragment"),
        ("wss:///path", "has no host"),
        (f"wss://{'a' * 64}.example/", "1 to 63"),
        ("wss://exchange..example/", "1 to 63"),
        ("wss://example.com:99999/", "port"),
        ("wss://example.com:0/", "port"),
        ("wss://example.com:abc/", "port"),
        ("wss://exa mple.com/", "a space"),
        ("wss://example.com/\r\nX: y", "control"),
        ("wss://example.com\\@evil.example/", "backslash"),
        ("wss://exämple.com/", "punycode"),
        ("wss://example.com/a;b", "%3B"),
        ("wss://[::1/", "cannot be parsed"),
        (None, "must be a str"),
        (b"wss://example.com", "must be a str"),
    ],
)
def test_K08_K09_refuses_with_what_to_write_instead(url: object, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)  # type: ignore[arg-type]
    assert hint in str(caught.value)
    assert caught.value.argument == "url" and str(caught.value) == f"url {caught.value.problem}"
    assert "hunter2secret" not in str(caught.value)


def test_loopback_hosts() -> None:
    assert is_loopback_host("127.8.9.1") and is_loopback_host("::1") and is_loopback_host("localhost")
    assert not is_loopback_host("localhost.example.com") and not is_loopback_host("0.0.0.0")


@pytest.mark.parametrize(
    ("url", "canonical", "path"),
    [
        ("https://Example.com/trade-api/v2", "https://example.com:443/trade-api/v2", "/trade-api/v2"),
        ("https://example.com:8443/trade-api/v2/", "https://example.com:8443/trade-api/v2", "/trade-api/v2"),
        ("http://[::1]", "http://[::1]:80", ""),
    ],
)
def test_a_rest_url(url: str, canonical: str, path: str) -> None:
    endpoint = parse_rest_url(url)
    assert (endpoint.url, endpoint.path) == (canonical, path)
    assert endpoint.is_secure == url.startswith("https") and parse_rest_url(endpoint.url) == endpoint


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://example.com/", "unencrypted; write https://"),
        ("wss://example.com/", "the REST url starts with https://"),
        ("ws://127.0.0.1/", "the REST url starts with http://"),
        ("example.com", "must start with https://"),
        ("https://example.com/?token=hunter2secret", "has a query"),
        ("https://user:hunter2secret@example.com/", "user name or password"),
        ("https://example.com/#part", "a REST url cannot have"),
    ],
)
def test_a_rest_url_that_is_refused(url: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_rest_url(url)
    assert hint in str(refused.value) and "hunter2secret" not in str(refused.value)
