"""The ids of a stream's entries, what is added twice, and how many are kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalshi_feed.relay import streams
from kalshi_feed.relay.client import RedisClient
from kalshi_feed.relay.encoding import Encoded
from kalshi_feed.relay.layout import EntryId, EntryKind, keys_of
from kalshi_feed.relay.streams import Deposed, StreamWriter, push
from tests.relay.redis_server import RedisServer
from tests.relay.stream import RelayKeys

BEAT = Encoded(EntryKind.BEAT)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[RedisClient]:
    found = RedisClient(redis_server.url)
    yield found
    found.close()


def test_adding_an_entry_twice_does_no_harm_but_another_writer_ends_it(
    redis_server: RedisServer, client: RedisClient
) -> None:
    relayed = RelayKeys(redis_server.client())
    one, two = (StreamWriter(keys_of("main"), account=False, keep=10) for _ in range(2))
    one.begin(1_000)
    for moment in (100.0, 101.0, 102.0):
        one.add(BEAT, 5, moment)
    again = list(one.pending)
    assert push(client, [one]) == 3
    assert not one.pending
    one.pending.extend(again)  # as if the answer had been lost
    one.add(BEAT, 5, 103.0)
    while push(client, [one]):
        pass
    assert [entry.id for entry in relayed.entries()] == [EntryId(1_000, number) for number in (1, 2, 3, 4)]
    assert all(entry.late > 60 for entry in relayed.entries())

    one.skip()
    one.add(BEAT, 5, 104.0)
    two.begin(1_001)
    two.add(BEAT, 5, 104.0)
    push(client, [two])
    with pytest.raises(Deposed):
        push(client, [one])
    one.tried = 6  # also if it might have been the repeat of an entry
    with pytest.raises(Deposed):
        push(client, [one])
    three = StreamWriter(keys_of("main"), account=False, keep=10)
    three.begin(1_001)  # even if both have chosen the same generation
    three.add(BEAT, 5, 104.0)
    with pytest.raises(Deposed):
        push(client, [three])
    assert relayed.entries()[-1].id == EntryId(1_001, 1)
    assert one.newest(client) == EntryId(1_001, 1)
    assert StreamWriter(keys_of("none"), account=False, keep=10).newest(client) == EntryId(0, 0)


def test_the_stream_keeps_what_its_time_says(
    redis_server: RedisServer, client: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StreamWriter(keys_of("main"), account=False, keep=60.0)
    writer.begin(1)
    assert writer.most == 1_000
    start = writer._counted_at
    writer.entries = 500
    writer.look_at_rate(start + 0.5)
    assert writer.most == 1_000  # too early to say
    writer.look_at_rate(start + 2.0)
    assert writer.most == 250 * 60
    for second in range(3, 63):  # a quiet minute
        writer.look_at_rate(start + second)
    assert 0.5 * 250 * 60 < writer.most < 0.6 * 250 * 60
    writer.entries += 1_000_000
    writer.look_at_rate(start + 64)
    assert writer.most == 200_000
    monkeypatch.setattr(streams, "_AT_ONCE", 50)
    writer.most = 10
    for _ in range(400):
        writer.add(BEAT, 5, start)
    while push(client, [writer]):
        pass
    assert redis_server.client().xlen(writer.keys.stream) <= 10 + 100  # Redis removes whole nodes
