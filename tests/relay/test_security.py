"""Who may do what in Redis, and what never gets there: keys, signatures, headers, passwords."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from kalshi_feed import FeedState, KalshiFeed, RelayError, SubscriptionError
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import keys_of
from kalshi_feed.simulator import Exchange
from kalshi_feed.simulator.certificates import Certificates
from tests.faults.secrets import Secrets, shown_with_locals
from tests.feed.support import A, B, C, FeedMaker, Recorder, wait_equal
from tests.support import wait_until

from . import acl
from .consumers import ConsumerMaker, RelayMaker, next_after
from .redis_server import RedisServer

PASSWORD = "hunter2-relay-secret"
KEYS, OWN_KEYS = keys_of("main"), keys_of("main", account=True)
RULES = {"relay": acl.RELAY, "reader": acl.READER, "wishes": acl.WISHES, "account": acl.ACCOUNT}


@pytest.fixture
def guarded(make_redis: Callable[..., RedisServer]) -> RedisServer:
    """A server with the guide's users, and no other."""
    users = {name: f">{PASSWORD}-{name} {rules}" for name, rules in RULES.items()}
    return make_redis(users={"default": "off", **users}, durable=True)


def address(server: RedisServer, user: str) -> str:
    return server.address(user, f"{PASSWORD}-{user}")


@pytest.fixture
def secrets(exchange: Exchange) -> Secrets:
    """What must not show up anywhere."""
    secrets = Secrets()
    secrets.add_exchange(exchange)
    secrets.add(PASSWORD, "KALSHI-ACCESS", "kalshi-access", "Authorization", "Sec-WebSocket", "PRIVATE KEY")
    return secrets


# -- the users of the guide ----------------------------------------------------------------------------------


def test_K15_each_user_can_do_what_it_needs(
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    guarded: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    relay = make_relay(address(guarded, "relay"), account=True)
    standby = make_relay(address(guarded, "relay"), account=True, standby=True)
    reader = make_consumer(address(guarded, "reader"), remote=False).start()
    wishing = make_consumer(address(guarded, "wishes")).start()
    owner = make_consumer(address(guarded, "account"), account=True).start()
    wait_equal(reader, exchange, A, B)
    wishing.wait_for_book(C, 5)
    wait_equal(wishing, exchange, A, B, C)
    (own,) = wishing.subscriptions
    next_after(own.request_snapshot, wishing, "orderbook_snapshot", C)
    owner.subscribe("fill").wait(5)
    fill = next_after(lambda: exchange.fill(A, side="no", price="0.55", count=1), owner, "fill")
    assert fill.market_ticker == A
    relay.close()
    wait_until(lambda: standby.is_writer)
    wait_equal(reader, exchange, A, B)
    wait_equal(owner, exchange, A, B)
    assert standby.stats().errors == relay.stats().errors == 0
    assert "NOPERM" not in caplog.text
    assert guarded.client().acl_log() == []


ALLOWED: dict[str, set[str]] = {
    "relay": {
        "ping",
        "read",
        "write",
        "wish",
        "read wishes",
        "lease",
        "checkpoint",
        "own",
        "write own",
        "trim",
    },
    "reader": {"ping", "read", "newest"},
    "wishes": {"ping", "read", "newest", "wish"},
    "account": {"ping", "own", "newest own"},
}


def attempts(client: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a program might try that has a user's password."""
    yield "ping", client.ping
    yield "read", lambda: client.xread({KEYS.stream: "0"}, count=1)
    yield "newest", lambda: client.xrevrange(KEYS.checkpoint, count=1)
    yield "own", lambda: client.xread({OWN_KEYS.stream: "0"}, count=1)
    yield "newest own", lambda: client.xrevrange(OWN_KEYS.checkpoint, count=1)
    yield "wish", lambda: client.xadd(KEYS.wishes, {"p": b""}, maxlen=10_000)
    yield "read wishes", lambda: client.xread({KEYS.wishes: "0"})
    yield "write", lambda: client.xadd(KEYS.stream, {"k": "H"}, id="1-1")
    yield "write own", lambda: client.xadd(OWN_KEYS.stream, {"k": "H"}, id="1-1")
    yield "checkpoint", lambda: client.xadd(KEYS.checkpoint, {"p": b""}, id="1-1", maxlen=1)
    yield "lease", lambda: client.set(KEYS.lease, "mine", nx=True, px=100)
    yield "lease", lambda: client.delete(KEYS.lease)
    yield "trim", lambda: client.xtrim(KEYS.wishes, maxlen=10_000)
    yield "delete entries", lambda: client.xdel(KEYS.stream, "1-1")
    yield "other keys", lambda: client.get("kalshi_feed:{other}:lease")
    yield "other keys", lambda: client.xread({"kalshi_feed:{other}:stream": "0"})
    yield "other keys", lambda: client.xadd("kalshi_feed:{other}:stream", {"k": "H"})
    yield "other keys", lambda: client.set("session:1", "mine")
    yield "the server", client.keys
    yield "the server", client.flushall
    yield "the server", client.config_get
    yield "the server", client.acl_list
    yield "the server", client.client_list
    yield "the server", client.info
    yield "the server", lambda: client.eval("return redis.call('get', KEYS[1])", 1, KEYS.lease)
    yield "the server", lambda: client.publish("channel", "message")
    yield "the server", lambda: client.execute_command("MONITOR")
    yield "the server", client.save


@pytest.mark.parametrize("user", list(RULES))
def test_K15_no_user_can_do_more(user: str, guarded: RedisServer) -> None:
    with redis.Redis.from_url(address(guarded, user), protocol=2) as client:
        for what, attempt in attempts(client):
            try:
                attempt()
            except redis.exceptions.NoPermissionError:
                assert what not in ALLOWED[user], what
            except redis.ResponseError as error:
                assert "equal or smaller" in str(error)
            else:
                assert what in ALLOWED[user], what


def test_D01_who_may_not_is_refused(
    exchange: Exchange, make_relay: RelayMaker, make_consumer: ConsumerMaker, guarded: RedisServer
) -> None:
    """A relay, a consumer of the wrong stream, and a consumer with wishes, each with a user that may not."""
    for url, words in (
        (address(guarded, "reader"), "ACL must give the user 'reader'"),
        (guarded.address("relay", "wrong"), "does not accept the user 'relay'"),
        (guarded.url, "set KALSHI_RELAY_PASSWORD"),
    ):
        with pytest.raises(RelayError, match=words) as caught:
            make_relay(url)
        assert not caught.value.retryable
    make_relay(address(guarded, "relay"))
    own = make_consumer(address(guarded, "reader"), account=True)
    with pytest.raises(RelayError, match="ACL must give the user 'reader'"):
        own.start().wait_until_connected(5)
    assert own.state is FeedState.FAILED
    reader = make_consumer(address(guarded, "reader")).start()
    wait_equal(reader, exchange, A, B)
    with pytest.raises(SubscriptionError, match="remote=False"):
        reader.wait_for_book(C, 5)
    assert reader.book(A).is_live


def test_tls(
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    make_redis: Callable[..., RedisServer],
    tmp_path: Path,
) -> None:
    certificates = Certificates()
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem)
    (tmp_path / "other.pem").write_bytes(Certificates().ca_pem)
    server = make_redis(tls=certificates, password=PASSWORD)
    make_relay(server.url, ca_file=tmp_path / "ca.pem", password=PASSWORD)
    feed = make_consumer(server.url, ca_file=tmp_path / "ca.pem", password=PASSWORD).start()
    wait_equal(feed, exchange, A, B)
    for options in ({"ca_file": tmp_path / "other.pem"}, {}):
        other = make_consumer(server.url, password=PASSWORD, **options)
        with pytest.raises(RelayError, match="pass the CA's certificate as ca_file"):
            other.start().wait_until_connected(5)
        with pytest.raises(RelayError, match="pass the CA's certificate as ca_file"):
            make_relay(server.url, password=PASSWORD, standby=True, **options)


# -- what never gets into Redis, or out of the process -------------------------------------------------------


def shown(value: Any) -> Iterator[str]:
    """Everything in a value of Redis, decompressed."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from shown(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from shown(key)
            yield from shown(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "backslashreplace")
        if value.startswith(b"\x78"):
            yield zlib.decompress(value).decode()


def test_K13_redis_never_holds_a_secret(
    exchange: Exchange,
    make_feed: FeedMaker,
    make_consumer: ConsumerMaker,
    guarded: RedisServer,
    secrets: Secrets,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A whole life: account channels, wishes, lost connections, refusals, a second relay, the end."""
    caplog.set_level(logging.DEBUG, "kalshi_feed")
    exchange.add_market(C, yes={"0.20": 5}, no={"0.70": 6})
    feed = make_feed(url=f"{exchange.url}?token={PASSWORD}")
    feed.subscribe(("orderbook_delta", "trade", "fill", "user_orders", "market_positions"), [A])
    kept: list[str] = []
    with Relay(feed, address(guarded, "relay"), account=True) as relay:
        owner = make_consumer(address(guarded, "account"), account=True).start()
        heard = Recorder(owner)
        owner.wait_for_book(C, 5)
        make_consumer(address(guarded, "wishes")).start().wait_for_book(B, 5)
        exchange.fill(A, side="no", price="0.55", count=1)
        exchange.place_order(A, side="yes", price="0.41", count=4)
        wait_until(lambda: heard.of("fill") and heard.of("user_order"))
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 1)
        exchange.reject_next(1, 503, body=f"unknown key: {exchange.api_key_id}".encode())
        exchange.reset()
        wait_until(lambda: feed.stats().reconnects == 2)
        wait_equal(owner, exchange, A, B, C)
        kept += [repr(relay), repr(relay.stats()), repr(owner.stats()), repr(owner.health()), repr(owner)]
        everything = guarded.everything()
    texts = [text for value in everything.items() for text in shown(value)]
    texts += [text for value in guarded.everything().items() for text in shown(value)]
    assert {key.decode() for key in everything} == {*KEYS, *OWN_KEYS}
    assert any("order_id" in text for text in texts)
    for text in (*texts, *kept, caplog.text):
        secrets.check(text, "Redis, a repr or a log")
    for file in (guarded.folder / "data").rglob("*"):
        if file.is_file():
            secrets.check(file.read_bytes().decode("latin-1"), f"Redis's file {file.name}")
    secrets.check(guarded.log.read_text(), "Redis's log")


@pytest.mark.parametrize("kind", ["url", "password", "environment"])
def test_K14_a_password_never_shows(
    kind: str,
    exchange: Exchange,
    make_feed: FeedMaker,
    guarded: RedisServer,
    secrets: Secrets,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the error, the locals of its traceback, a repr or a log, of whatever fails."""
    wrong = f"{PASSWORD}-wrong"
    options: dict[str, Any] = {}
    url = guarded.address("relay", wrong if kind == "url" else "")
    if kind == "password":
        options["password"] = wrong
    elif kind == "environment":
        monkeypatch.setenv("KALSHI_RELAY_PASSWORD", wrong)
    feed = make_feed()
    consumer = KalshiFeed.from_relay(url, **options)
    failing: list[Callable[[], object]] = [
        lambda: Relay(feed, url, **options).start(),
        lambda: consumer.start().wait_until_connected(5),
        lambda: Relay(feed, url, keep=-1, **options),
        lambda: Relay(feed, url + "/x", **options),
        lambda: Relay(feed, url, name="a b", **options),
        lambda: Relay(consumer, url, **options),
        lambda: KalshiFeed.from_relay(url, silence=0, **options),
        lambda: KalshiFeed.from_relay(url + "/x", **options),
        lambda: KalshiFeed.from_relay(url, queue_size=0, **options),
        lambda: KalshiFeed.from_relay(url, ca_file="x", **options),
    ]
    for fail in failing:
        with pytest.raises(Exception) as caught:
            fail()
        for text in shown_with_locals(caught.value):
            secrets.check(text, f"the error {caught.value}")
    secrets.check(f"{consumer!r} {consumer.health()!r} {consumer.stats()!r}", "a repr")
    for thing in (consumer._engine, Relay(feed, url, **options)):
        secrets.check(repr(vars(thing)), "the attributes")
    consumer.close()
    secrets.check(caplog.text, "the log")
