"""What goes wrong is retried as long as that helps, bounded, and reported as one error of the package."""

from __future__ import annotations

import base64
import gzip
import logging
import pickle
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kalshi_feed import ConnectionFailed, ProxyError, RestError, TLSError
from kalshi_feed.rest import Rest, asking, sessions
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.connection.tunnel import Tunnel
from tests.faults.support import PASSWORD, USER, through
from tests.support import wait_until

from .conftest import MakeRest
from .support import FakeClock, answering, http_answer, with_clock

T1 = "KXA-26NOV30-T1"
OK = http_answer(200, b'{"exchange_active": true, "trading_active": false}')


def failing(rest: Rest) -> RestError:
    with pytest.raises(RestError) as failed:
        rest.exchange_status()
    assert pickle.loads(pickle.dumps(failed.value)).args == failed.value.args
    return failed.value


# -- retries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refusal_that_passes_is_not_noticed(make_rest: MakeRest, exchange: Exchange, status: int) -> None:
    clock = FakeClock()
    rest = make_rest(with_clock(clock))
    exchange.refuse_rest(3, status)
    assert rest.market(T1).ticker == T1
    assert [request.status for request in exchange.rest_log] == [status] * 3 + [200]
    assert 0.25 + 0.5 + 1 <= clock.slept <= 0.5 + 1 + 2 + 1


@pytest.mark.parametrize("how", ["reset", "close", "noise", "cut"])
def test_a_connection_that_breaks_is_made_again(make_rest: MakeRest, exchange: Exchange, how: Any) -> None:
    rest = make_rest(with_clock(FakeClock()))
    rest.market(T1)  # so that a connection is kept
    exchange.break_rest(2, how)
    assert rest.market(T1).ticker == T1
    assert exchange.rest_requests["/markets/{ticker}"] == 4


def test_retries_have_a_deadline(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    exchange.rest_down = 503
    error = failing(make_rest(with_clock(clock), retry_for=20))
    assert (error.status, error.retryable, error.path) == (503, True, "/exchange/status")
    assert 8 < clock.slept <= 20 and 4 <= len(exchange.rest_log) <= 9  # delays grow


def test_waiting_for_its_turn_does_not_use_up_the_retries(make_rest: MakeRest, exchange: Exchange) -> None:
    rest = make_rest(with_clock(FakeClock()), retry_for=5, tokens_per_second=1)
    rest.market(T1)  # it has used up more than the bucket held: the next one waits
    exchange.refuse_rest(1, 503)
    assert rest.market(T1).ticker == T1


def test_retries_can_be_turned_off(make_rest: MakeRest, exchange: Exchange) -> None:
    exchange.rest_down = 503
    failing(make_rest(retry_for=0))
    assert len(exchange.rest_log) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 418])
def test_other_refusals_are_final(make_rest: MakeRest, exchange: Exchange, status: int) -> None:
    exchange.refuse_rest(1, status, body=b'{"error": {"code": "odd", "message": "no\\nway"}}')
    error = failing(make_rest())
    assert (error.status, error.code, error.message, error.retryable) == (status, "odd", "no way", False)
    assert f"GET /exchange/status was answered with {status} odd: no way" in str(error)
    assert len(exchange.rest_log) == 1


@pytest.mark.parametrize("body", [b'{"code": "odd", "message": "no", "details": "way"}', b"<h1>no: way</h1>"])
def test_other_shapes_of_errors(make_rest: MakeRest, exchange: Exchange, body: bytes) -> None:
    exchange.refuse_rest(1, 418, body=body)
    assert failing(make_rest()).message == "no: way"


# -- the clock and the key -----------------------------------------------------------------------------------


def test_a_wrong_clock_is_corrected_once(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    clock.ahead = 600
    rest = make_rest(with_clock(clock))
    assert rest.limits().usage_tier == "basic"
    assert [request.status for request in exchange.rest_log] == [401, 200]
    assert rest.clock_skew is not None and 595 < rest.clock_skew < 605
    rest.limits()
    assert exchange.rest_log[-1].status == 200 and len(exchange.rest_log) == 3


def test_a_wrong_clock_costs_no_thread_its_answer(make_rest: MakeRest, exchange: Exchange) -> None:
    clock = FakeClock()
    clock.ahead = 600
    rest = make_rest(with_clock(clock))
    exchange.rest_delay = 0.5  # so that they are under way when the first refusal corrects the clock
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(rest.limits) for _ in range(4)]
    assert [one.result().usage_tier for one in found] == ["basic"] * 4
    assert [request.status for request in exchange.rest_log].count(200) == 4


def test_a_wrong_key_is_final(make_rest: MakeRest, exchange: Exchange) -> None:
    with Exchange(key_type="ed25519") as stranger:
        rest = make_rest(credentials=stranger.credentials)
    with pytest.raises(RestError, match="clock agrees with the server's") as refused:
        rest.limits()
    assert refused.value.status == 401 and len(exchange.rest_log) == 1


# -- answers that are not the exchange's ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http_answer(200, b"<html>It works!</html>"), "not a JSON object, it begins with 'It works!'"),
        (http_answer(200, b"[]"), "not a JSON object"),
        (http_answer(200, b'{"a": "\xff"}'), "not a JSON object"),
        (http_answer(200, b"[" * 100_000), "not a JSON object"),
        (http_answer(204, b""), "answered with 204"),
        (http_answer(302, b"", "Location: https://elsewhere.example/\r\n"), "redirects are not followed"),
    ],
)
def test_an_answer_of_someone_else(answer: bytes, said: str) -> None:
    with RawServer(answering(answer)) as server, Rest(url=f"http://127.0.0.1:{server.port}/x") as rest:
        assert said in str(failing(rest))
        assert server.connections == 1


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (lambda rest: rest.market("A"), b'{"market": [1]}'),
        (lambda rest: rest.market("A"), b'{"market": {"status": "open"}}'),
        (lambda rest: list(rest.markets()), b'{"markets": 3}'),
        (lambda rest: list(rest.markets()), b'{"markets": [3]}'),
        (lambda rest: list(rest.markets()), b'{"markets": [{"ticker": "A"}], "cursor": "again"}'),
        (lambda rest: list(rest.trades()), b'{"trades": [{"trade_id": "x", "yes_price_dollars": "2.00"}]}'),
        (lambda rest: list(rest.trades()), b'{"trades": [{"ticker": "A"}]}'),
        (lambda rest: rest.event("A"), b'{"event": {"event_ticker": "A", "markets": [7]}}'),
        (lambda rest: rest.user_data_timestamp(), b'{"as_of_time": "now"}'),
    ],
)
def test_an_answer_of_another_shape(call: Callable[[Rest], object], body: bytes) -> None:
    with RawServer(answering(http_answer(200, body))) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}") as rest, pytest.raises(RestError) as failed:
            call(rest)
    assert failed.value.status == 200 and not failed.value.retryable


def test_what_cannot_be_read_is_quoted_without_secrets() -> None:
    body = b'{"trades": [{"trade_id": "x", "yes_price_dollars": "KALSHI-ACCESS-SIGNATURE: c2VjcmV0"}]}'
    with RawServer(answering(http_answer(200, body))) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}") as rest, pytest.raises(RestError) as failed:
            list(rest.trades())
    assert "the answer cannot be read" in str(failed.value) and "c2VjcmV0" not in str(failed.value)


def test_the_cutoff_may_be_in_seconds() -> None:
    with RawServer(answering(http_answer(200, b'{"trades_created_ts": 1790000000}'))) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}") as rest:
            assert rest.historical_cutoff().timestamp() == 1_790_000_000


@pytest.mark.parametrize("name", ["urllib3.connection", "urllib3.connectionpool"])  # the second: before 2.0
def test_headers_that_urllib3_logs_are_redacted(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with Rest(url="http://127.0.0.1:9"):
        logging.getLogger(name).warning("cannot parse %s", "KALSHI-ACCESS-SIGNATURE: c2VjcmV0")
    assert "cannot parse" in caplog.text and "c2VjcmV0" not in caplog.text


def test_fields_that_are_odd_or_missing_cost_only_themselves() -> None:
    body = b"""{"market": {"ticker": "A", "status": "brand new", "yes_bid_dollars": "much", "close_time": 7.5,
        "can_close_early": "maybe", "volume_fp": 12, "floor_strike": 1e2, "price_ranges": "all",
        "new": [1]}}"""
    with RawServer(answering(http_answer(200, body))) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}") as rest:
            market = rest.market("A")
    assert (market.status, market.yes_bid, market.close_at, market.can_close_early) == ("brand new",) + (
        None,
    ) * 3
    assert market.volume == 12 and market.floor_strike == 100 and market.price_ranges is None
    assert set(market.extra) == {"yes_bid_dollars", "close_time", "can_close_early", "price_ranges", "new"}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_compressed_answer(is_chunked: bool, is_cut: bool) -> None:
    text = b'{"exchange_active": true, "words": "%s"}' % random.Random(1).randbytes(60_000).hex().encode()
    body = gzip.compress(text)
    if is_chunked:
        pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        answer = b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + sent
    else:
        answer = http_answer(200, body, "Content-Encoding: gzip\r\n")
    with RawServer(answering(answer[:-2000] if is_cut else answer)) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}", retry_for=0) as rest:
            if is_cut:
                assert failing(rest).status is None
            else:
                assert len(rest.exchange_status().extra["words"]) == 120_000


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_BYTES", 50_000)
    with RawServer(answering(http_answer(200, b" " * 60_000))) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}") as rest:
            error = failing(rest)
    assert "larger than 50,000 bytes" in str(error) and not error.retryable


@pytest.mark.parametrize("start", [b"", OK[:40], OK[:-10]])
def test_an_answer_that_does_not_come_is_given_up(start: bytes) -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(start)
        peer.wait_closed()

    with RawServer(handler) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}", timeout=0.2, retry_for=0) as rest:
            began = time.monotonic()
            error = failing(rest)
    assert error.status is None and error.retryable and "within 0.2 s" in str(error)
    assert time.monotonic() - began < 5


def test_an_answer_that_trickles_is_given_up() -> None:
    def handler(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 X\r\nContent-Length: 10000\r\n\r\n")
        while True:
            peer.send(b" " * 100)
            time.sleep(0.02)

    with RawServer(handler) as server:
        with Rest(url=f"http://127.0.0.1:{server.port}", timeout=0.2, retry_for=0) as rest:
            began = time.monotonic()
            assert "not all of it, within 0.2 s" in str(failing(rest))
            assert time.monotonic() - began < 1.5


# -- connections ---------------------------------------------------------------------------------------------


def test_nothing_listens() -> None:
    with Rest(url="http://127.0.0.1:9", retry_for=0) as rest:
        error = failing(rest)
    assert isinstance(error.__cause__, ConnectionFailed) and error.retryable
    assert "the connection was refused" in str(error)


def test_a_server_that_is_not_known_is_not_asked_again(exchange: Exchange) -> None:
    with Rest(url=exchange.rest_url) as rest:  # trusts certifi only
        error = failing(rest)
    assert isinstance(error.__cause__, TLSError) and not error.retryable
    assert "its issuer is not known" in str(error) and exchange.rest_requests == {}


def test_only_the_given_certificates_count(exchange: Exchange, make_rest: MakeRest) -> None:
    """requests would add its own to them."""
    context = exchange.ssl_context
    count = context.cert_store_stats()["x509_ca"]
    make_rest(ssl_context=context).exchange_status()
    assert context.cert_store_stats()["x509_ca"] == count == 1


def test_through_a_proxy(exchange: Exchange, make_rest: MakeRest) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as server:
        rest = make_rest(proxy=through(server))
        assert rest.limits().usage_tier == "basic"
        rest.limits()
        rest.close()
    assert len(tunnel.requests) == 1 and b"Proxy-Authorization: Basic" in tunnel.requests[0]
    assert b"KALSHI" not in tunnel.requests[0]


def test_a_proxy_is_given_any_user_name_and_password(exchange: Exchange, make_rest: MakeRest) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as server:
        with make_rest(proxy=f"http://us%2Fer:p%40%2541%23%C3%BC@127.0.0.1:{server.port}") as rest:
            rest.limits()
    sent = base64.b64encode("us/er:p@%41#ü".encode())
    assert b"Proxy-Authorization: Basic " + sent in tunnel.requests[0]


def test_the_environments_proxy_is_chosen_as_for_a_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1")
    with Rest(url="http://127.0.0.1:9"):  # none on loopback
        pass
    with pytest.raises(ValueError, match="SOCKS"):
        Rest()
    monkeypatch.setenv("NO_PROXY", "*")
    Rest().close()


def test_a_proxy_that_refuses(exchange: Exchange, make_rest: MakeRest) -> None:
    answer = f"HTTP/1.1 407 No {USER}:{PASSWORD}\r\nContent-Length: 0\r\n\r\n".encode()
    with RawServer(Tunnel(answer)) as server:
        rest = make_rest(proxy=through(server))
        error = failing(rest)
    assert isinstance(error.__cause__, ProxyError) and error.__cause__.status == 407
    assert PASSWORD not in str(error) and not error.retryable


# -- threads and the end -------------------------------------------------------------------------------------


def test_many_threads_share_one(rest: Rest, exchange: Exchange) -> None:
    wrong: list[object] = []

    def ask(ticker: str) -> None:
        for _ in range(5):
            if rest.market(ticker).ticker != ticker:
                wrong.append(ticker)

    threads = [threading.Thread(target=ask, args=(t,)) for t in (T1, "KXA-26NOV30-T2", "KXB-26NOV30") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == [] and exchange.rest_requests["/markets/{ticker}"] == 45
    assert len({request.connection for request in exchange.rest_log}) <= 9


def test_close_ends_the_wait_of_another_thread(
    make_rest: MakeRest, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_DELAY", 60.0)
    monkeypatch.setattr(asking, "LONGEST_DELAY", 60.0)
    exchange.rest_down = 503
    rest, errors = make_rest(retry_for=600), []

    def ask() -> None:
        errors.append(failing(rest))

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: exchange.rest_requests)
    rest.close()
    thread.join(5)
    assert not thread.is_alive() and "was closed" in str(errors[0])
    assert "was closed" in str(failing(rest))
