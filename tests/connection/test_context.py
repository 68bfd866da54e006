from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from kalshi_feed.connection.context import ca_context, check_context, default_context
from kalshi_feed.connection.url import parse_url
from kalshi_feed.errors import ConfigurationError

REMOTE = parse_url("wss://external-api-ws.kalshi.com/trade-api/ws/v2")
LOOPBACK = parse_url("wss://localhost:9001/")


def test_default_verifies_everything() -> None:
    context = default_context()
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 50
    check_context(context, REMOTE)
    check_context(None, REMOTE)


def test_one_ca_file_is_as_strict() -> None:
    context = ca_context(certifi.where())
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    check_context(context, REMOTE)


def test_T11_key_log_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert default_context().keylog_filename is ca_context(certifi.where()).keylog_filename is None
    assert not log.exists()


def test_T09_unreadable_ca_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigurationError, match=r"gone\.pem.*certifi"):
        default_context()


@pytest.mark.parametrize("mode", [ssl.CERT_NONE, ssl.CERT_OPTIONAL])
def test_T10_a_context_that_does_not_verify(mode: ssl.VerifyMode) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = mode
    with pytest.raises(ConfigurationError, match="verify_mode"):
        check_context(context, REMOTE)
    check_context(context, LOOPBACK)


def test_T10_a_context_that_does_not_check_the_host() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ConfigurationError, match="check_hostname"):
        check_context(context, REMOTE)
    check_context(context, LOOPBACK)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("oldest", ["TLSv1", "TLSv1_1", "MINIMUM_SUPPORTED"])
def test_T06_a_context_that_takes_old_tls(oldest: str) -> None:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion[oldest]
    with pytest.raises(ConfigurationError, match="minimum_version"):
        check_context(context, REMOTE)
    check_context(context, LOOPBACK)
    for new in ("TLSv1_2", "TLSv1_3", "MAXIMUM_SUPPORTED"):
        context.minimum_version = ssl.TLSVersion[new]
        check_context(context, REMOTE)


def test_a_context_for_servers() -> None:
    for endpoint in (REMOTE, LOOPBACK):
        with pytest.raises(ConfigurationError, match="is for servers"):
            check_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), endpoint)


def test_not_a_context() -> None:
    with pytest.raises(ConfigurationError, match=r"ssl\.SSLContext or None, not bool"):
        check_context(False, REMOTE)
