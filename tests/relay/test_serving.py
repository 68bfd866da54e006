"""What the relay's feed does for consumers: it subscribes and asks, and stops when no one wants it."""

from __future__ import annotations

import time
from functools import partial

import pytest

from kalshi_feed import KalshiFeed
from kalshi_feed.relay import Relay, registry, serving
from kalshi_feed.relay import relay as relaying
from kalshi_feed.relay.client import RedisClient
from kalshi_feed.relay.layout import EntryKind
from kalshi_feed.relay.wishes import FollowWish, OneTimeRequest, SubscribeWish
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Recorder, wait_equal
from tests.relay.redis_server import RedisServer
from tests.relay.stream import ALICE, BOB, RelayKeys
from tests.support import wait_until


@pytest.mark.greenlets
def test_wishes_become_one_subscription_and_end_with_their_lease(
    exchange: Exchange,
    feed: KalshiFeed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.wait_until_connected(5)
    with Relay(feed, redis_server.url) as relay:
        assert relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A))).refused == {}
        wait_equal(feed, exchange, A)
        commands = len(exchange.commands)
        for number in range(50):
            serial = relayed.want(f"{number:032x}", relayed.books(A))
        relayed.answer(f"{49:032x}", serial)
        assert relay.stats().consumers == 51
        assert relay.stats().keys == 1
        serial = relayed.want(BOB, relayed.books(A, B), SubscribeWish(2, ["trade"], "market_tickers", [B]))
        answer = relayed.answer(BOB, serial)
        wait_equal(feed, exchange, A, B)
        assert len(feed.subscriptions) == 2
        wait_until(lambda: len(exchange.commands) == commands + 2)
        # the answer comes behind what it caused
        entries = relayed.entries()
        place = [entry.kind for entry in entries].index(EntryKind.ANSWER)
        assert b'"do":"subscribe"' in b"".join(entry.payload for entry in entries[:place])
        assert answer.serial == serial
        # a message with the same serial is answered too: the first answer may have been lost in a hole
        relayed.want(BOB, serial=serial)
        wait_until(lambda: [one.serial for one in relayed.answers() if one.consumer == BOB] == [serial] * 2)
        assert feed.book(B).is_live
        relayed.answer(BOB, relayed.want(BOB))  # unsubscribe() works at once
        wait_until(lambda: B not in feed.books)
        assert [one.channels for one in feed.subscriptions] == [("orderbook_delta",)]
        monkeypatch.setattr(registry, "LEASE", 0.1)
        wait_until(lambda: not feed.subscriptions)
        assert relay.stats().consumers == 0
    assert relay.stats().errors == 0


def test_old_wishes_do_not_pile_up_in_redis(
    feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever MAXLEN the consumers add them with."""
    monkeypatch.setattr(serving, "_TRIM_EVERY", 0.1)
    monkeypatch.setattr(serving, "_UNREAD", 100)
    relayed = RelayKeys(redis_server.client())
    with Relay(feed, redis_server.url):
        for _ in range(400):
            serial = relayed.want(ALICE)
        relayed.answer(ALICE, serial)
        assert redis_server.client().xlen(relayed.keys.wishes) > 300
        wait_until(lambda: redis_server.client().xlen(relayed.keys.wishes) <= 200)


def test_leases_end_although_others_never_stop_talking(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.wait_until_connected(5)
    with Relay(feed, redis_server.url) as relay:
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        monkeypatch.setattr(registry, "LEASE", 0.5)

        def has_ended() -> bool:
            relayed.want(BOB, relayed.books(B))
            return relay.stats().consumers == 1 and A not in feed.books

        wait_until(has_ended)
        assert B in feed.books


def test_what_consumers_wanted_survives_the_relay_and_ends_with_its_close(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    """A new relay reads what was sent within the last lease, but carries no request out again."""
    relayed = RelayKeys(redis_server.client())
    first, second = make_feed().start(), make_feed()
    with Relay(first, redis_server.url):
        serial = relayed.want(ALICE, relayed.books(A), requests=[OneTimeRequest("checkpoint")])
        relayed.answer(ALICE, serial)
        wait_equal(first, exchange, A)
    assert first.subscriptions == ()  # the relay is gone; its feed goes on, and wants nothing for others
    wait_until(lambda: not exchange.subscriptions)
    commands = len(exchange.commands)
    with Relay(second, redis_server.url) as relay:
        wait_equal(second, exchange, A)
        assert relay.stats().consumers == 1
        time.sleep(0.4)
        assert relay.stats().checkpoints == 1
        assert [command["cmd"] for command in exchange.commands[commands:]] == ["subscribe"]


def test_refusals(exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer) -> None:
    relayed = RelayKeys(redis_server.client())
    feed = make_feed()
    own = feed.subscribe("ticker", market_ids=["8bd8e831-5a9a-54a7-a457-fa4b9a19ecee"])
    with Relay(feed, redis_server.url, allow=["KXTEST-26-*"]) as relay:
        wishes = (
            relayed.books("KXOTHER-1", number=1),
            SubscribeWish(2, ["ticker", "trade"], "market_tickers", [A]),  # contradicts the program's own
            relayed.books(A, number=3),
            SubscribeWish(4, ["fill"]),
        )
        refused = relayed.answer(ALICE, relayed.want(ALICE, *wishes)).refused
        assert sorted(refused) == [1, 2, 4]
        assert "does not allow KXOTHER-1" in refused[1]
        assert "already subscribed by market_ids" in refused[2]
        wait_equal(feed, exchange, A)
        assert {one.channels for one in feed.subscriptions} == {own.channels, ("orderbook_delta",)}
        assert relay.stats().refused == 3


def test_a_market_that_the_exchange_refused_is_asked_for_again_by_the_next_consumer(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed = make_feed()
    with Relay(feed, redis_server.url):
        feed.wait_until_connected(5)
        exchange.refuse_commands(16, cmd="subscribe")
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        wait_until(lambda: any(one.error for one in feed.subscriptions))
        exchange.behave()
        relayed.answer(BOB, relayed.want(BOB, relayed.books(A)))
        wait_equal(feed, exchange, A)


def test_requests_are_carried_out_once(
    exchange: Exchange, feed: KalshiFeed, redis_server: RedisServer
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.subscribe("orderbook_delta", [A])
    feed.wait_for_book(A, 5)
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: relay.stats().checkpoints)
        commands = len(exchange.commands)
        requests = [
            OneTimeRequest("request_snapshots", [A, "NOT-WANTED"]),
            OneTimeRequest("ask", ["nonsense"]),
            OneTimeRequest("delete_everything", [A]),
            *[OneTimeRequest("checkpoint")] * 10,
        ]
        serial = relayed.want(ALICE, requests=requests)
        relayed.answer(ALICE, serial)
        wait_until(lambda: len(exchange.commands) == commands + 1)
        assert exchange.commands[-1]["params"]["market_tickers"] == [A]
        wait_until(lambda: relay.stats().checkpoints == 2)
        for _ in range(5):
            relayed.want(ALICE, requests=requests, serial=serial)
        wait_until(lambda: len(relayed.answers()) == 6)
        assert len(exchange.commands) == commands + 1
        assert relay.stats().checkpoints == 2
        assert relay.stats().refused == 2


def test_series_are_followed_for_as_long_as_anyone_wants_that(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KALSHI_REST_URL", exchange.rest_url)
    exchange.rest_tier = None
    run = exchange.run_series("KXSIM15M", every=30, markets=2, rounds=1)
    run.wait_for(2, "opened")
    relayed = RelayKeys(redis_server.client())
    feed = make_feed()
    with Relay(feed, redis_server.url) as relay:
        wish = FollowWish(1, ["orderbook_delta"], series="KXSIM15M")
        assert relayed.answer(ALICE, relayed.want(ALICE, follow=[wish])).refused == {}
        wait_until(lambda: len(feed.books) == 2 and all(book.is_live for book in feed.books.values()))
        combos = FollowWish(2, ["trade"], series="KXMVECROSS")
        refused = relayed.answer(BOB, relayed.want(BOB, follow=[wish, combos])).refused
        assert sorted(refused) == [2]
        assert "combos" in refused[2]
        assert relay.stats().follows == 1
        assert any(line.learned is not None for line in relayed.lines())
        relayed.answer(ALICE, relayed.want(ALICE))
        assert len(feed.books) == 2
        relayed.answer(BOB, relayed.want(BOB))
        wait_until(lambda: not feed.books and not feed.subscriptions)


def test_account_channels_only_for_consumers_of_the_account(
    exchange: Exchange, make_feed: FeedMaker, redis_server: RedisServer
) -> None:
    everyone, owner = RelayKeys(redis_server.client()), RelayKeys(redis_server.client(), account=True)
    feed = make_feed()
    with Relay(feed, redis_server.url, account=True):
        orders = SubscribeWish(1, ["user_orders"])
        assert "account=True" in everyone.answer(ALICE, everyone.want(ALICE, orders)).refused[1]
        assert owner.answer(BOB, owner.want(BOB, orders)).refused == {}
        feed.wait_until_connected(5)
        wait_until(lambda: [sub["channel"] for sub in exchange.subscriptions] == ["user_orders"])
        exchange.place_order(A, side="yes", price="0.41", count=4)
        wait_until(lambda: "order_id" in owner.messages())
    assert "order_id" not in everyone.messages()


@pytest.mark.slow
def test_garbage_is_ignored_and_an_outage_costs_no_lease(
    exchange: Exchange,
    feed: KalshiFeed,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relayed = RelayKeys(redis_server.client())
    feed.wait_until_connected(5)
    seen = Recorder(feed)
    with Relay(feed, redis_server.url) as relay:
        client = redis_server.client()
        for fields in (
            {"p": b"{"},
            {"q": b"x"},
            {"p": b"[" * 100_000},
            {"p": b'{"consumer":"x","serial":1}'},
        ):
            client.xadd(relayed.keys.wishes, fields)
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        assert relay.stats().ignored == 4
        redis_server.kill()
        monkeypatch.setattr(registry, "LEASE", 1.2)
        wait_until(lambda: not relay.stats().is_connected)
        time.sleep(1.2)
        redis_server.start()
        relayed.answer(BOB, relayed.want(BOB, relayed.books(A)))
        time.sleep(0.4)  # it looks for leases that have ended
        assert relay.stats().consumers == 2
        assert feed.book(A).is_live
        wait_until(lambda: not relay.stats().consumers)  # their leases go on to end, though
    assert len([fault for fault in seen.faults if fault.kind == "relay"]) == 1


def test_messages_that_are_too_long_do_not_block_the_others(
    feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "RedisClient", partial(RedisClient, longest_reply=50_000))
    relayed = RelayKeys(redis_server.client())
    with Relay(feed, redis_server.url) as relay:
        for size in (20_000, 20_000, 20_000):  # too long together
            redis_server.client().xadd(relayed.keys.wishes, {"p": b" " * size})
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        assert relay.stats().ignored == 3
        redis_server.client().xadd(relayed.keys.wishes, {"p": b" " * 60_000})
        wait_until(lambda: relay.stats().ignored == 4)
        relayed.answer(BOB, relayed.want(BOB, relayed.books(A)))


def test_a_key_of_another_type_is_reported_and_the_rest_goes_on(
    feed: KalshiFeed, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_REPORT_AFTER", 0.1)
    monkeypatch.setattr(serving, "_RETRY", 0.05)
    relayed = RelayKeys(redis_server.client())
    seen = Recorder(feed)
    redis_server.client().set(relayed.keys.wishes, "of another program")
    with Relay(feed, redis_server.url) as relay:
        wait_until(lambda: [fault for fault in seen.faults if "what its consumers want" in fault.message])
        assert relay.is_writer
        redis_server.client().delete(relayed.keys.wishes)
        relayed.answer(ALICE, relayed.want(ALICE, relayed.books(A)))
        wait_until(lambda: feed.book(A).is_live)
