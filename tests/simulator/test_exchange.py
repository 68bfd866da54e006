"""The exchange as a server: TLS, signatures, refusals, pings, start and close, files."""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import websocket
from websockets.sync.client import connect

from kalshi_feed.simulator import Exchange

from .peer import PATH, Peer, Refused, headers, sign, wait_until


def refused(exchange: Exchange, signed: dict[str, str], **options: Any) -> Refused:
    with pytest.raises(Refused) as caught, Peer(exchange, signed, **options):
        pass
    return caught.value


def date(headers: Mapping[str, str] | None) -> float:
    """The Date header, in seconds since 1970."""
    assert headers is not None
    return email.utils.parsedate_to_datetime(headers["date"]).timestamp()


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_a_signed_handshake_is_let_in(key_type: Any) -> None:
    with Exchange(key_type=key_type) as exchange, Peer(exchange) as peer:
        assert exchange.url.startswith("wss://127.0.0.1:") and exchange.url.endswith(PATH)
        assert exchange.private_key_pem.startswith(
            b"-----BEGIN RSA PRIVATE KEY" if key_type == "rsa" else b"-----BEGIN PRIVATE KEY"
        )
        assert peer.ask("list_subscriptions")["msg"] == []
        assert exchange.connections == 1


def test_compression_is_not_agreed_to_where_it_is_turned_off(exchange: Exchange) -> None:
    exchange.compression = False
    signed = {**headers(exchange), "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    with Peer(exchange, signed) as peer:
        assert "sec-websocket-extensions" not in (peer.ws.getheaders() or {})
        assert peer.ask("list_subscriptions")["msg"] == []


def test_an_origin_is_refused_as_the_real_exchange_does(exchange: Exchange) -> None:
    response = refused(exchange, headers(exchange), suppress_origin=False)
    assert (response.status, response.body) == (403, b"Forbidden\n")
    assert response.headers["sec-websocket-version"] == "13"
    assert exchange.handshakes[-1].headers["ORIGIN"].startswith("https://")


def test_wrong_credentials_are_401(exchange: Exchange) -> None:
    good = headers(exchange)
    with Exchange(key_type="ed25519") as other:
        foreign = headers(other)
    now = good["KALSHI-ACCESS-TIMESTAMP"]
    old = str(int(now) - 11_000)
    cases = {
        "NOT_FOUND": foreign,
        "MISSING_HEADERS": {},
        "INVALID_TIMESTAMP": {**good, "KALSHI-ACCESS-TIMESTAMP": "soon"},
        "TIMESTAMP_EXPIRED": headers(exchange, now_ms=int(old)),
        "INCORRECT_API_KEY_SIGNATURE": {
            **good,
            "KALSHI-ACCESS-SIGNATURE": foreign["KALSHI-ACCESS-SIGNATURE"],
        },
    }
    for details, signed in cases.items():
        response = refused(exchange, signed)
        assert response.status == 401
        assert json.loads(response.body) == {"code": "authentication_error", "details": details}
        assert abs(date(response.headers) - time.time()) < 3
    text = f"{now}GET{PATH}?x=1"  # the query is not signed
    wrong_text = {**good, "KALSHI-ACCESS-SIGNATURE": sign(exchange.private_key_pem, text)}
    assert refused(exchange, wrong_text, url=f"{exchange.url}?x=1").status == 401
    with Peer(exchange, url=f"{exchange.url}?x=1"):
        pass
    assert refused(exchange, {**good, "KALSHI-ACCESS-SIGNATURE": "not base64"}).status == 401
    assert [record.status for record in exchange.handshakes] == [401, 401, 401, 401, 401, 401, 101, 401]


def test_another_path_is_404(exchange: Exchange) -> None:
    assert refused(exchange, headers(exchange), url=exchange.url + "/margin").status == 404


def test_clock_offset_shifts_the_exchanges_time(exchange: Exchange) -> None:
    exchange.clock_offset = 3600
    response = refused(exchange, headers(exchange))
    assert response.status == 401
    assert abs(date(response.headers) - time.time() - 3600) < 3
    with Peer(exchange, headers(exchange, now_ms=int(time.time() * 1000) + 3_600_000)) as peer:
        assert abs(date(peer.ws.getheaders()) - time.time() - 3600) < 3
        assert abs(peer.ask("explode")["sending_ts_ms"] / 1000 - time.time() - 3600) < 3


def test_handshakes_are_recorded_without_the_signature(exchange: Exchange) -> None:
    for signed in (headers(exchange), headers(exchange)):
        with Peer(exchange, signed):
            pass
        record = exchange.handshakes[-1]
        assert record.status == 101 and record.api_key_id == exchange.api_key_id
        assert record.timestamp_ms == signed["KALSHI-ACCESS-TIMESTAMP"]
        assert signed["KALSHI-ACCESS-SIGNATURE"] not in repr(record)
        assert "ORIGIN" not in record.headers
    first, second = exchange.wait_for_handshakes(2)
    assert first.signature_sha256 != second.signature_sha256 or first.timestamp_ms == second.timestamp_ms


def test_rejected_handshakes_come_in_order(exchange: Exchange) -> None:
    exchange.reject_next(1, 429, {"Retry-After": "7"}, b"slow down")
    exchange.reject_next(2)
    limited = refused(exchange, headers(exchange))
    assert (limited.status, limited.headers["retry-after"], limited.body) == (429, "7", b"slow down")
    assert [refused(exchange, headers(exchange)).status for _ in range(2)] == [503, 503]
    with Peer(exchange) as peer:
        assert peer.ask("list_subscriptions")["msg"] == []


def test_tls_is_checked_and_can_be_left_out(exchange: Exchange) -> None:
    stranger = ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode())
    with pytest.raises(ssl.SSLCertVerificationError), Peer(exchange, ssl=stranger):
        pass
    with Peer(exchange, url=exchange.url.replace("127.0.0.1", "localhost")) as peer:
        assert peer.ask("list_subscriptions")["type"] == "ok"
    context = exchange.ssl_context
    assert context is not exchange.ssl_context
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with Exchange(tls=False, key_type="ed25519") as plain, Peer(plain) as peer:
        assert plain.url.startswith("ws://")
        assert peer.ask("list_subscriptions")["type"] == "ok"


def test_garbage_and_silence_before_the_upgrade_do_no_harm(exchange: Exchange, peer: Peer) -> None:
    address = ("127.0.0.1", exchange.port)
    with socket.create_connection(address) as silent, socket.create_connection(address) as rude:
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
        rude.settimeout(5)
        with contextlib.suppress(ConnectionResetError):  # some bytes were left unread
            while rude.recv(100):
                pass
        context = exchange.ssl_context
        with (
            socket.create_connection(address) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"nonsense\r\n\r\n")
            tls.settimeout(5)
            assert tls.recv(100) == b""
        assert peer.ask("list_subscriptions")["type"] == "ok"
        assert silent.fileno() > 0
        started = time.monotonic()
        exchange.close()
        assert time.monotonic() - started < 2


def test_a_frame_against_the_rules_is_answered_with_1002(exchange: Exchange, peer: Peer) -> None:
    assert peer.ws.sock is not None
    peer.ws.sock.sendall(b"\x81\x02{}")  # a client must mask
    assert peer.until_closed().code == 1002
    peer.shutdown()
    exchange.wait_for_connections(0)


def test_heartbeats(exchange: Exchange) -> None:
    exchange.heartbeat = 0.05
    with Peer(exchange) as peer:
        assert peer.ws.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PING, b"heartbeat")
        wait_until(lambda: exchange.pongs >= 1)
        exchange.pings = False
        peer.ws.settimeout(0.3)
        with pytest.raises(websocket.WebSocketTimeoutException):
            while True:
                peer.ws.recv_data(control_frame=True)


def test_a_clients_ping_is_answered(exchange: Exchange, peer: Peer) -> None:
    peer.ws.ping("mine")
    assert peer.ws.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"mine")
    assert exchange.pings_received == 1


def test_close_is_bounded_idempotent_and_leaves_nothing() -> None:
    exchange = Exchange(markets=3, rate=2000, key_type="ed25519").start()
    with Peer(exchange) as polite, Peer(exchange) as stuck, Peer(exchange) as frozen:
        for peer in (polite, stuck):
            peer.send(
                "subscribe",
                {"channels": ["orderbook_delta"], "market_tickers": list(exchange.market_tickers)},
            )
        exchange.freeze(connection=2)
        started = time.monotonic()
        closers = [threading.Thread(target=exchange.close) for _ in range(3)]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(3)
        assert time.monotonic() - started < 2
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("kalshi-exchange")]
        assert exchange.connections == 0
        assert polite.until_closed().code == 1001
        assert frozen.until_closed().code == 1001
    exchange.close()


def test_it_starts_again_on_the_same_port() -> None:
    exchange = Exchange(markets=("KXSIM-A",), key_type="ed25519")
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = exchange.url
    book = exchange.book("KXSIM-A")
    urls = []
    for index in range(3):
        with exchange:
            assert exchange.start() is exchange
            urls.append(exchange.url)
            with Peer(exchange) as peer:
                _, snapshot = peer.subscribe("orderbook_delta", tickers=("KXSIM-A",))
                assert snapshot["seq"] == 1
                assert exchange.commands[-1]["connection"] == index
                exchange.close()
                assert peer.until_closed().code == 1001
    assert len(set(urls)) == 1
    assert exchange.book("KXSIM-A") == book


def test_a_taken_port_is_an_error(exchange: Exchange) -> None:
    with pytest.raises(OSError):
        Exchange(port=exchange.port, key_type="ed25519").start()
    assert exchange.connections == 0


def test_credentials_and_files(exchange: Exchange, tmp_path: Path) -> None:
    for _ in range(2):  # the second time overwrites the first
        key, ca = exchange.write_credentials(tmp_path / "files")
        assert key.read_bytes() == exchange.private_key_pem and ca.read_bytes() == exchange.ca_pem
        assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    credentials = exchange.credentials
    assert credentials.api_key_id == exchange.api_key_id
    with Peer(exchange, credentials.headers(PATH, int(time.time() * 1000))):
        pass


def test_nothing_secret_is_logged_or_shown(exchange: Exchange, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signed = headers(exchange)
    with Peer(exchange, signed):
        pass
    refused(exchange, {**signed, "KALSHI-ACCESS-KEY": "other"})
    secrets = [signed["KALSHI-ACCESS-SIGNATURE"], exchange.private_key_pem.decode().splitlines()[1]]
    shown = caplog.text + repr(exchange) + repr(exchange.handshakes) + repr(exchange._account)
    assert not [secret for secret in secrets if secret in shown]


def test_it_compresses_for_a_client_that_offers_it(exchange: Exchange) -> None:
    exchange.add_market("KX-A", yes={"0.40": 10})
    told = []
    for offers in ("deflate", None):
        with connect(
            exchange.url,
            ssl=exchange.ssl_context,
            additional_headers=headers(exchange),
            compression=offers,
            proxy=None,
        ) as client:
            assert [one.name for one in client.protocol.extensions] == ["permessage-deflate"] * bool(offers)
            client.send(
                '{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_ticker":"KX-A"}}'
            )
            told.append([json.loads(client.recv(5)) for _ in range(2)])
    assert [[one["type"] for one in messages] for messages in told] == [
        ["subscribed", "orderbook_snapshot"]
    ] * 2


@pytest.mark.parametrize("missing", ["websockets", "trustme"])
def test_without_the_extra_the_import_says_what_to_install(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import kalshi_feed.simulator.pytest_plugin
try:
    from kalshi_feed.simulator import Exchange
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert "install kalshi-feed[simulator]: pip install " in done.stdout


def test_unknown_names_of_the_package_are_attribute_errors() -> None:
    import kalshi_feed.simulator

    with pytest.raises(AttributeError, match="Nothing"):
        _ = kalshi_feed.simulator.Nothing


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="markets"):
        Exchange(markets="KXSIM-A")
    with pytest.raises(ValueError, match="key_type"):
        Exchange(key_type="dsa")  # type: ignore[arg-type]


def test_the_pytest_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(kalshi_exchange):\n"
        "    assert kalshi_exchange.book('KXSIM-A')['yes'] and kalshi_exchange.url.startswith('wss://')\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "kalshi_feed.simulator.pytest_plugin",
            "test_mine.py",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
