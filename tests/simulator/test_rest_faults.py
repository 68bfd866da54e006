"""What a test can do to REST: limits, errors, lag, cursors, broken answers; and what clients can do to it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from kalshi_feed.simulator import Exchange, connection
from kalshi_feed.simulator.http_wire import MAX_BODY, MAX_HEAD

from .peer import DEADLINE, Peer, wait_until
from .rest_client import RestClient


@pytest.fixture
def rest(exchange: Exchange, tmp_path: Path) -> Iterator[RestClient]:
    with RestClient(exchange, tmp_path) as client:
        yield client


@contextlib.contextmanager
def raw(exchange: Exchange) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", exchange.port), DEADLINE) as plain,
        exchange.ssl_context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        yield tls


def read_all(sock: socket.socket) -> bytes:
    """Everything until the exchange closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while data := sock.recv(65536):
            found += data
    return found


def served_threads() -> list[str]:
    return [
        one.name
        for one in threading.enumerate()
        if one.name.startswith("kalshi-exchange-") and one.name[-1].isdigit()
    ]


# -- what a test orders --------------------------------------------------------------------------------------
def test_the_token_bucket_of_the_tier(exchange: Exchange, rest: RestClient) -> None:
    exchange.rest_tokens = 20.0  # two requests a second, six at once
    statuses = [rest.get("/exchange/status").status_code for _ in range(8)]
    assert statuses == [200] * 6 + [429] * 2
    refused = rest.get("/exchange/status")
    assert refused.json() == {"error": "too many requests"} and "Retry-After" not in refused.headers
    usage = exchange.rest_usage
    assert (usage.requests, usage.refused) == (9, 3) and 0 <= usage.lowest_tokens < 10
    assert usage.peak_per_second == 90.0
    wait_until(lambda: rest.get("/exchange/status").status_code == 200)
    exchange.rest_tokens, exchange.rest_tier = None, None
    assert {rest.get("/exchange/status").status_code for _ in range(50)} == {200}


def test_staying_below_the_tier_can_be_proved(exchange: Exchange, rest: RestClient) -> None:
    exchange.rest_tokens = 400.0
    for _ in range(20):
        assert rest.get("/exchange/status").status_code == 200
        time.sleep(1 / 40)  # slightly below the rate
    usage = exchange.rest_usage
    assert usage.refused == 0 and usage.lowest_tokens > 1200 - 100 and usage.peak_per_second <= 400
    exchange.forget()
    assert exchange.rest_usage.requests == 0 and exchange.rest_requests == {} and exchange.rest_log == []


def test_refused_requests(exchange: Exchange, rest: RestClient) -> None:
    exchange.refuse_rest(0)  # none
    exchange.refuse_rest(2, 500)
    exchange.refuse_rest(1, 429)
    exchange.refuse_rest(1, 503, path="/portfolio", body=b"upstream", headers={"Retry-After": "1"})
    answers = [rest.get("/markets") for _ in range(4)]
    assert [one.status_code for one in answers] == [500, 500, 429, 200]
    assert answers[0].json()["error"]["code"] == "internal_server_error"
    assert answers[2].json() == {"error": "too many requests"}
    unavailable = rest.get("/portfolio/fills")
    assert (unavailable.status_code, unavailable.content) == (503, b"upstream")
    assert unavailable.headers["Retry-After"] == "1"
    assert {entry.connection for entry in exchange.rest_log} == {1}
    exchange.refuse_rest(None, 502)
    assert [rest.get("/markets").status_code for _ in range(3)] == [502] * 3
    exchange.behave()
    assert rest.get("/markets").status_code == 200
    assert [entry.status for entry in exchange.rest_log][-4:] == [502, 502, 502, 200]


def test_rest_is_down_while_the_feed_is_up(exchange: Exchange, rest: RestClient, peer: Peer) -> None:
    peer.subscribe("trade")
    exchange.rest_down = "reset"
    with pytest.raises(requests.ConnectionError):
        rest.get("/markets")
    exchange.rest_down = "close"
    with pytest.raises(requests.ConnectionError):
        rest.get("/markets")
    exchange.rest_down = "hang"
    with pytest.raises(requests.ReadTimeout):
        rest.session.get(exchange.rest_url + "/markets", timeout=0.2)
    exchange.rest_down = 503
    assert rest.get("/markets").status_code == 503
    exchange.trade("A", "yes", "0.45", 1)
    assert len(peer.barrier()) == 1
    exchange.behave()
    assert rest.get("/markets").status_code == 200 and exchange.rest_down is None


def test_broken_answers(exchange: Exchange, rest: RestClient) -> None:
    exchange.break_rest(1, "garbage")
    page = rest.get("/markets")
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    with pytest.raises(ValueError):
        page.json()
    exchange.break_rest(1, "shape")
    assert rest.get("/markets").json() == []
    for how in ("noise", "cut", "close", "reset"):
        exchange.break_rest(1, how)  # type: ignore[arg-type]
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            rest.get("/markets")
    assert rest.get("/markets").status_code == 200
    with pytest.raises(ValueError, match="how must be one of reset"):
        exchange.break_rest(1, "explode")  # type: ignore[arg-type]


def test_slow_answers_hold_up_no_one_else(exchange: Exchange, rest: RestClient, peer: Peer) -> None:
    peer.subscribe("trade")
    exchange.rest_delay = 0.3
    begin = time.monotonic()
    exchange.trade("A", "yes", "0.45", 1)
    assert len(peer.barrier()) == 1 and time.monotonic() - begin < 0.3
    assert rest.get("/markets").status_code == 200 and time.monotonic() - begin >= 0.3


def test_the_account_lags(exchange: Exchange, rest: RestClient) -> None:
    exchange.rest_tier = None
    order = exchange.place_order("A", "yes", "0.42", 3)
    assert rest.json("/portfolio/orders")["orders"][0]["status"] == "resting"
    exchange.rest_lag = 0.6
    exchange.fill("A", order_id=order, count=3)
    filled = time.monotonic()
    at_us = exchange.now_us()

    def state() -> tuple[str, int, int]:
        order_state = rest.json("/portfolio/orders")["orders"][0]["status"]
        fills, positions = rest.json("/portfolio/fills"), rest.json("/portfolio/positions")
        return order_state, len(fills["fills"]), len(positions["market_positions"])

    def as_of_us() -> float:
        text = rest.json("/exchange/user_data_timestamp")["as_of_time"]
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e6

    before = as_of_us()
    assert state() == ("resting", 0, 0) and before < at_us
    assert len(rest.json("/markets/trades")["trades"]) == 1  # market data does not lag
    wait_until(lambda: state() == ("executed", 1, 1))
    assert time.monotonic() - filled >= 0.6 and as_of_us() >= at_us


def test_once_the_timestamp_has_passed_a_fill_it_is_there(exchange: Exchange, rest: RestClient) -> None:
    exchange.rest_tier = None
    exchange.rest_lag = 0.02
    for number in range(30):
        exchange.fill("A", count=1)
        at = exchange.now_us() / 1e6
        while True:
            text = rest.json("/exchange/user_data_timestamp")["as_of_time"]
            if datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() >= at:
                break
        assert len(rest.json("/portfolio/fills", limit=1000)["fills"]) == number + 1


def test_cursors_change_expire_and_overlap(exchange: Exchange, rest: RestClient) -> None:
    for number in range(6):
        exchange.trade("A", "yes", "0.45", number + 1)
    first = rest.json("/markets/trades", limit=2)
    assert rest.json("/markets/trades", limit=2)["cursor"] != first["cursor"]  # never the same twice
    exchange.trade("A", "yes", "0.45", 99)  # moves no later page
    second = rest.json("/markets/trades", limit=2, cursor=first["cursor"])
    assert [trade["count_fp"] for trade in second["trades"]] == ["4.00", "3.00"]
    assert rest.error("/markets", cursor=first["cursor"])[0] == 400  # of another list
    exchange.expire_rest_cursors()
    expired = rest.error("/markets/trades", cursor=first["cursor"])
    assert expired == (400, "the cursor is invalid or has expired")
    exchange.rest_cursor_seconds = 0.05
    short = rest.json("/markets/trades", limit=2)["cursor"]
    time.sleep(0.1)
    assert rest.error("/markets/trades", cursor=short)[0] == 400
    exchange.rest_cursor_seconds = None
    exchange.quirks.rest_pages_overlap = 1
    counts = [trade["count_fp"] for trade in rest.pages("/markets/trades", "trades", limit=3)]
    assert counts == ["99.00", "6.00", "5.00", "5.00", "4.00", "3.00", "3.00", "2.00", "1.00"]


def test_ids_that_differ(exchange: Exchange, rest: RestClient) -> None:
    order = exchange.place_order("A", "yes", "0.42", 3)
    exchange.fill("A", order_id=order)
    (trade,) = exchange.trades
    exchange.quirks.rest_trade_ids_differ = True
    assert rest.json("/markets/trades")["trades"][0]["trade_id"] == exchange.rest_trade_id(trade["trade_id"])
    fill = rest.json("/portfolio/fills")["fills"][0]
    assert (
        fill["fill_id"] == fill["trade_id"] == trade["trade_id"] != exchange.rest_trade_id(trade["trade_id"])
    )
    exchange.quirks.rest_fill_ids_differ = True
    fill = rest.json("/portfolio/fills")["fills"][0]
    assert fill["fill_id"] == fill["trade_id"] == exchange.rest_trade_id(trade["trade_id"])


# -- what clients do -----------------------------------------------------------------------------------------
GET = b"GET /trade-api/v2/exchange/status HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /trade-api/v2/markets HTTP/9.9\r\n\r\n", 400),
        (b"GET /trade-api/v2/markets\r\nHost: x\r\n\r\n", 400),
        (GET + b"no colon\r\n\r\n", 400),
        (GET + b"Folded: a\r\n b\r\n\r\n", 400),
        (GET + b"A: \x00\r\n\r\n", 400),
        (GET + b"Content-Length: -1\r\n\r\n", 400),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (GET + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (GET + b"A: b\r\n" * 200 + b"\r\n", 431),
        (GET + b"A: " + b"b" * MAX_HEAD, 431),
        (b"GET /trade-api/v2/" + b"m" * 2 * MAX_HEAD, 431),
    ],
)
def test_malformed_http(exchange: Exchange, sent: bytes, status: int) -> None:
    with raw(exchange) as sock:
        sock.sendall(sent)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"Connection: close" in answer and b'{"error":{' in answer
    assert exchange.rest_requests == {}


def test_requests_in_pieces_and_together(exchange: Exchange) -> None:
    request = GET + b"Content-Length: 3\r\n\r\nabc"
    with raw(exchange) as sock:
        for number in range(len(request)):
            sock.send(request[number : number + 1])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        sock.sendall(b"\r\n" + request * 19 + GET + b"Connection: close\r\n\r\n")
        assert read_all(sock).count(b"HTTP/1.1 200 OK\r\n") == 20
    assert exchange.rest_requests == {"/exchange/status": 21}
    with raw(exchange) as sock:
        sock.sendall(b"GET /trade-api/v2/exchange/status HTTP/1.0\r\n\r\n")
        assert b"Connection: close" in read_all(sock)


def test_an_upgrade_below_the_prefix_and_a_request_beside_it_are_not_rest(exchange: Exchange) -> None:
    with raw(exchange) as sock:
        sock.sendall(GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 404 ")
    with raw(exchange) as sock:
        sock.sendall(b"GET /trade-api/v3/markets HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 404 ")
    assert [one.status for one in exchange.handshakes] == [404, 404] and exchange.rest_requests == {}


def test_a_client_that_reads_nothing_costs_a_bounded_memory(exchange: Exchange) -> None:
    exchange.rest_tier = None
    for number in range(300):
        exchange.create_market(f"KX-{number}")
    request = b"GET /trade-api/v2/markets?limit=1000 HTTP/1.1\r\n\r\n"
    with raw(exchange) as sock:
        sock.sendall(request * 1000)  # answers of 300 MB
        exchange.wait_for_rest_requests(3)
        served = 0
        while served != exchange.rest_requests["/markets"]:  # until nothing more goes out
            served = exchange.rest_requests["/markets"]
            time.sleep(0.2)
        assert served < 60  # the others wait for their turn
        sock.settimeout(DEADLINE)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            for _ in range(400):  # 20 MB, far ahead of the answers
                sock.sendall(request * 1000)
    wait_until(lambda: not served_threads())


def test_slow_clients_are_dropped(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OPEN_TIMEOUT", 0.3)
    with raw(exchange) as silent, raw(exchange) as dripping:
        dripping.sendall(GET + b"\r\n")  # the next one has to come in time, too
        assert dripping.recv(65536).startswith(b"HTTP/1.1 200 ")
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            for number in range(1000):
                dripping.send(GET[number : number + 1] or b"A")
                time.sleep(0.01)
        assert 0.2 < time.monotonic() - begin < DEADLINE
        assert read_all(silent) == b""
    wait_until(lambda: not served_threads())


def test_idle_clients_are_dropped(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_TIMEOUT", 0.3)
    with raw(exchange) as idle:
        idle.sendall(GET + b"\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        begin = time.monotonic()
        assert read_all(idle) == b"" and 0.2 < time.monotonic() - begin < DEADLINE
    wait_until(lambda: not served_threads())


def test_closing_waits_for_no_client(exchange: Exchange, rest: RestClient) -> None:
    with raw(exchange) as idle, raw(exchange) as begun, raw(exchange) as hanging:
        idle.sendall(GET + b"\r\n")
        assert idle.recv(65536)
        begun.sendall(GET)
        exchange.break_rest(1, "hang")
        hanging.sendall(GET + b"\r\n")
        exchange.wait_for_rest_requests(2)
        begin = time.monotonic()
        exchange.close()
        assert time.monotonic() - begin < 1.0
        assert not served_threads()


def test_restart_keeps_the_history(exchange: Exchange, rest: RestClient) -> None:
    exchange.trade("A", "yes", "0.45", 1)
    exchange.close()
    with pytest.raises(requests.ConnectionError):
        rest.get("/markets")
    exchange.start()
    assert len(rest.json("/markets/trades")["trades"]) == 1


def test_many_clients_at_once(exchange: Exchange, tmp_path: Path) -> None:
    exchange.rest_tier = None
    failures: list[Any] = []

    def ask() -> None:
        with RestClient(exchange, tmp_path / threading.current_thread().name) as client:
            try:
                for _ in range(20):
                    client.json("/portfolio/orders")
            except Exception as error:  # reported below
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == [] and exchange.rest_requests == {"/portfolio/orders": 160}
    assert len({entry.connection for entry in exchange.rest_log}) == 8
