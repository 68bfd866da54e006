"""The connection to Redis (relay/client.py): what it returns and raises, and how it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from kalshi_feed import ConfigurationError, RelayError
from kalshi_feed.relay.client import IdTaken, RedisClient, ReplyTooLong
from kalshi_feed.simulator.certificates import Certificates
from tests.faults.secrets import shown_with_locals
from tests.faults.toxic_proxy import ToxicProxy
from tests.support import end_if_it_hangs, wait_until

from .redis_server import Cluster, RedisServer, free_port

PASSWORD = "hunter2-secret"
KEY = "kalshi_feed:{main}:stream"

MakeClient = Callable[..., RedisClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    with contextlib.ExitStack() as clients:

        def make(url: str, **options: Any) -> RedisClient:
            return clients.enter_context(contextlib.closing(RedisClient(url, **options)))

        yield make


def ping(client: redis.Redis) -> object:
    return client.ping()


def add(client: redis.Redis, id: str = "*") -> object:
    return client.xadd(KEY, {"p": b"payload"}, id=id)


def block(client: redis.Redis) -> object:
    return client.xread({KEY: "$"}, block=4000)


@contextlib.contextmanager
def answering(*replies: bytes) -> Iterator[str]:
    """Yield the url of a server that answers each command with the next of these bytes, whatever it was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = listener.accept()
                    with connected:
                        for reply in replies:
                            connected.recv(65536)
                            connected.sendall(reply)
                        connected.recv(65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


# -- what it returns and raises ------------------------------------------------------------------------------


@pytest.mark.greenlets
def test_commands_and_their_replies(make_redis: Callable[..., RedisServer], make_client: MakeClient) -> None:
    for server in (make_redis(), make_redis(unix=True)):
        client = make_client(server.url)
        assert client.run(lambda r: add(r, "7-1")) == b"7-1"
        with pytest.raises(IdTaken, match="equal or smaller") as caught:
            client.run(lambda r: add(r, "7-1"))
        assert not caught.value.retryable
        commands = [("XADD", KEY, f"7-{n}", b"p", n) for n in (2, 1, 3)] + [("GET", KEY)]
        replies = client.run_each(commands)
        assert replies[0::2] == [b"7-2", b"7-3"]
        assert [type(reply) for reply in replies[1::2]] == [IdTaken, RelayError]
        assert "another program uses a key of that name" in str(replies[3])
        assert len(client.run(lambda r: r.xread({KEY: "0"}))[0][1]) == 3
        assert server.client().info("commandstats")["cmdstat_xadd"]["calls"] == 5
        assert client.run_each([]) == []
        as_redis_has_it = [[KEY.encode(), [[b"7-3", [b"p", b"3"]]]]]
        assert client.run_each([("XREAD", "STREAMS", KEY, "7-2")]) == [as_redis_has_it]
        connections = server.client().info("stats")["total_connections_received"]
        assert client.run(lambda r: r.ping()) and client.run_each([("PING",)]) == [b"PONG"]
        assert server.client().info("stats")["total_connections_received"] <= connections + 1  # info()'s own


def test_a_database_of_its_own(redis_server: RedisServer, make_client: MakeClient) -> None:
    client = make_client(redis_server.url.removesuffix("0") + "3")
    client.run(lambda r: r.set("key", "value"))
    assert redis_server.everything() == {}
    assert redis_server.client(db=3).get("key") == b"value"


def test_D01_what_redis_refuses(make_redis: Callable[..., RedisServer], make_client: MakeClient) -> None:
    server = make_redis(
        password=PASSWORD, users={"reader": f">{PASSWORD} ~a* +get"}, maxmemory="3mb", options=["databases 2"]
    )
    reader = server.address("reader", PASSWORD)
    no_password = make_redis()

    def fill(client: redis.Redis) -> None:
        for _ in range(20):
            client.xadd(KEY, {"p": b"x" * 500_000})

    refused: list[tuple[str, Callable[[redis.Redis], object], bool, str]] = [
        (server.url, ping, False, "set KALSHI_RELAY_PASSWORD or KALSHI_RELAY_PASSWORD_FILE"),
        (
            server.address("", "wrong-secret"),
            ping,
            False,
            "does not accept the default user with the password",
        ),
        (server.address("who", PASSWORD), ping, False, "does not accept the user 'who'"),
        (no_password.address("", PASSWORD), ping, False, "this Redis has no password: leave ours out"),
        (reader, ping, False, "ACL must give the user 'reader'"),
        (reader, lambda r: r.get("b"), False, "ACL must give the user 'reader'"),
        (server.address("", PASSWORD)[:-1] + "9", ping, False, "write a smaller number"),
        (server.address("", PASSWORD), lambda r: r.execute_command("FROB"), False, "Redis 5 or newer"),
        (server.address("", PASSWORD), fill, True, "its memory is used up"),
    ]
    for url, call, retryable, words in refused:
        with pytest.raises(RelayError, match=words) as caught:
            make_client(url).run(call)
        assert caught.value.retryable is retryable
        assert str(caught.value).startswith(
            f"Redis at redis://127.0.0.1:{url.rpartition(':')[2].split('/')[0]}"
        )
        for text in shown_with_locals(caught.value):
            assert PASSWORD not in text
            assert "wrong-secret" not in text


@pytest.mark.parametrize(
    ("reply", "retryable", "words"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", True, "has just started"),
        (b"-BUSY Redis is busy running a script.\r\n", True, "a script keeps Redis busy"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", True, "has lost its master"),
        (b"-READONLY You can't write against a read only replica.\r\n", True, "must name the master"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", True, "its log says why"),
        (b"-CLUSTERDOWN The cluster is down\r\n", True, "the cluster is incomplete"),
        (b"-ASK 1 127.0.0.1:1\r\n", True, "is just moving"),
        (b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", True, "is just moving"),
        (b"-ERR max number of clients reached\r\n", True, "raise maxclients"),
        (b"-DENIED Redis is running in protected mode\r\n", False, "protected mode"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "does not speak Redis's protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x46", False, "does not speak Redis's protocol"),
        (b"", True, "must begin with rediss://"),
    ],
)
def test_D02_D03_what_redis_answers_when_it_is_not_well(
    reply: bytes, retryable: bool, words: str, make_client: MakeClient
) -> None:
    with answering(reply) as url:
        client = make_client(url, timeout=0.3 if not reply else 5)
        if not reply:
            url = url.replace("redis:", "rediss:")
            words = "no answer to the TLS handshake; if that Redis has no TLS, its url begins with redis://"
            client = make_client(url, timeout=0.3)
        with pytest.raises(RelayError, match=words) as caught:
            client.run(ping)
        assert caught.value.retryable is retryable
        client.close()


def test_a_reply_that_is_none_on_a_connection_that_was_good(make_client: MakeClient) -> None:
    for broken in (b"?\r\n", b":x\r\n"):
        with answering(b"+PONG\r\n", broken) as url:
            client = make_client(url)
            assert client.run(ping)
            with pytest.raises(RelayError, match=r"not a reply|was lost") as caught:
                client.run(ping)
            assert caught.value.retryable
            assert client.run(ping), "on a new connection"
            client.close()


def test_what_cannot_be_reached(make_client: MakeClient, redis_server: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    unreachable = {
        f"redis://127.0.0.1:{port}": "nothing is listening there",
        f"unix://{tmp_path / 'socket'}": "there is no such socket",
        "redis://no-such-host.invalid": "cannot be resolved",
    }
    redis_server.freeze()
    unreachable[redis_server.url] = "did not answer within 0.2 s"
    for url, words in unreachable.items():
        with pytest.raises(RelayError, match=words) as caught:
            make_client(url, timeout=0.2).run(ping)
        assert caught.value.retryable
    redis_server.thaw()


def test_arguments_that_cannot_work() -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("redis://host", {"password": 5}, "password must be a str"),
        ("redis://host", {"timeout": 0}, "timeout must be more than 0"),
        ("redis://host", {"ca_file": "ca.pem"}, "ca_file is for rediss:// only"),
        ("rediss://host", {"ca_file": "/no/such.pem"}, "the CA file '/no/such.pem' cannot be used"),
        ("rediss://host?ssl_cert_reqs=none", {}, "always verified"),
    ]
    for url, options, words in wrong:
        with pytest.raises(ConfigurationError, match=words):
            RedisClient(url, **options)


# -- passwords and TLS ---------------------------------------------------------------------------------------


def test_where_the_password_comes_from(
    make_redis: Callable[..., RedisServer],
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server = make_redis(users={"default": "nopass -@all", "relay": f">{PASSWORD} ~* +@all"})
    assert make_client(server.address("relay", "wrong"), password=PASSWORD).run(ping)
    monkeypatch.setenv("KALSHI_RELAY_PASSWORD", "wrong")
    assert make_client(server.address("relay", PASSWORD)).run(ping)
    monkeypatch.setenv("KALSHI_RELAY_PASSWORD", PASSWORD)
    client = make_client(server.address("relay"))
    assert client.run(ping)
    monkeypatch.delenv("KALSHI_RELAY_PASSWORD")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    monkeypatch.setenv("KALSHI_RELAY_PASSWORD_FILE", str(tmp_path / "password"))
    assert make_client(server.address("relay")).run(ping)
    monkeypatch.delenv("KALSHI_RELAY_PASSWORD_FILE")
    with contextlib.closing(client.another(timeout=1)) as other:
        assert other.run(lambda r: r.client_id()) != client.run(lambda r: r.client_id())
    assert (
        PASSWORD not in f"{client!r} {client._client!r} {vars(client)!r} {client._client.connection_pool!r}"
    )


@pytest.mark.greenlets
def test_tls_is_verified(
    make_redis: Callable[..., RedisServer], make_client: MakeClient, tmp_path: Path
) -> None:
    certificates = Certificates()
    right, wrong = tmp_path / "ca.pem", tmp_path / "other.pem"
    right.write_bytes(certificates.ca_pem)
    wrong.write_bytes(Certificates().ca_pem)
    server = make_redis(tls=certificates, password=PASSWORD, options=["bind 127.0.0.1 127.0.0.2"])
    client = make_client(server.url, ca_file=right, password=PASSWORD)
    assert client.run(lambda r: [add(r), add(r)])
    assert make_client(server.address(host="localhost"), ca_file=right, password=PASSWORD).run(ping)
    for options, host, words in (
        ({"ca_file": wrong}, "127.0.0.1", "pass the CA's certificate as ca_file"),
        ({}, "127.0.0.1", "pass the CA's certificate as ca_file"),
        ({"ca_file": right}, "127.0.0.2", "not accepted for the host 127.0.0.2"),
    ):
        with pytest.raises(RelayError, match=words) as caught:
            make_client(server.address("", PASSWORD, host=host), **options).run(ping)
        assert not caught.value.retryable
    with pytest.raises(RelayError, match="the url must begin with rediss://"):
        make_client(server.url.replace("rediss", "redis")).run(ping)


# -- how it ends ---------------------------------------------------------------------------------------------


@pytest.mark.greenlets
@pytest.mark.parametrize("secure", [False, True])
def test_D08_close_ends_a_call_that_blocks(
    secure: bool, make_redis: Callable[..., RedisServer], make_client: MakeClient, tmp_path: Path
) -> None:
    certificates = Certificates() if secure else None
    (tmp_path / "ca.pem").write_bytes(certificates.ca_pem if certificates else b"")
    server = make_redis(tls=certificates)
    client = make_client(server.url, ca_file=tmp_path / "ca.pem" if secure else None)
    client.run(ping)
    for frozen in (False, True):
        if frozen:
            client.close()
            server.freeze()  # the kernel accepts the connection: a TLS handshake waits, or the first command
        ended: list[object] = []

        def wait(ended: list[object] = ended) -> None:
            try:
                ended.append(client.run(block))
            except RelayError as error:
                ended.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        assert not ended
        began = time.monotonic()
        client.close()
        thread.join(5)
        assert time.monotonic() - began < 0.5
        assert "was closed by close()" in str(ended[0])
    server.thaw()
    wait_until(lambda: client.run(ping))
    client.close()
    client.close()
    assert server.client().info("clients")["blocked_clients"] == 0


def test_D04_no_command_is_sent_twice(
    redis_server: RedisServer, redis_proxy: ToxicProxy, make_client: MakeClient
) -> None:
    client = make_client(redis_server.address(port=redis_proxy.port), timeout=0.3)
    client.run(ping)
    redis_proxy.down.black_hole = True  # the command arrives, its reply does not
    with pytest.raises(RelayError, match="did not answer"):
        client.run(add)
    redis_proxy.heal()
    assert client.run(ping)
    redis_proxy.down.limit = 1  # each connection ends in the middle of the first reply
    client.close()
    with pytest.raises(RelayError, match="was lost"):
        client.run(lambda r: [add(r) for _ in range(3)])
    with pytest.raises(RelayError, match="was lost"):
        client.run_each([("XADD", KEY, "*", "p", b"")] * 3)
    calls = redis_server.client().info("commandstats")["cmdstat_xadd"]["calls"]
    assert calls == redis_server.client().xlen(KEY) == 1 + 1 + 3


def test_a_connection_that_died_in_the_meantime_is_replaced(
    redis_server: RedisServer, make_client: MakeClient
) -> None:
    client = make_client(redis_server.url)
    client.run(ping)
    redis_server.restart()
    assert client.run(ping)


def test_a_reply_that_is_too_long(redis_server: RedisServer, make_client: MakeClient) -> None:
    redis_server.client().xadd(KEY, {"p": b"x" * 20_000_000})
    client = make_client(redis_server.url, longest_reply=1_000_000)
    tracemalloc.start()
    try:
        for call in (lambda r: r.xread({KEY: "0"}), lambda r: r.xrange(KEY)):
            with pytest.raises(ReplyTooLong, match="the reply is longer than 1000000 bytes") as caught:
                client.run(call)
            assert caught.value.retryable
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert client.run(lambda r: [r.xlen(KEY) for _ in range(3)]) == [1, 1, 1]


def test_an_error_of_the_caller_leaves_no_reply_behind(
    redis_server: RedisServer, make_client: MakeClient
) -> None:
    client = make_client(redis_server.url)

    def fail(r: redis.Redis) -> None:
        r.set("key", "value")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.run(fail)
    assert client.run(lambda r: r.get("key")) == b"value"


def test_a_forked_child_has_a_connection_of_its_own(
    redis_server: RedisServer, make_client: MakeClient
) -> None:
    client = make_client(redis_server.url)
    client.run(lambda r: r.set("parent", os.getpid()))
    mine = client.run(lambda r: r.client_id())
    child = os.fork()
    if not child:
        end_if_it_hangs()
        client.run(lambda r: r.set("child", os.getpid()))
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert client.run(lambda r: r.get("child")) == str(child).encode()
    assert client.run(lambda r: r.client_id()) == mine


# -- a cluster -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_cluster_is_followed(make_cluster: Callable[..., Cluster], make_client: MakeClient) -> None:
    cluster = make_cluster()
    first, second, third = sorted(cluster.nodes, key=lambda node: node is cluster.node_of(KEY))
    client = make_client(first.url)
    assert client.run(lambda r: add(r, "1-1")) == b"1-1"
    cluster.move(KEY, second)
    entries = [("XADD", KEY, f"1-{n}", "p", b"") for n in (1, 2, 3)]
    assert [getattr(reply, "retryable", reply) for reply in client.run_each(entries)] == [
        False,
        b"1-2",
        b"1-3",
    ]
    cluster.move(KEY, third)
    assert len(client.run(lambda r: r.xrange(KEY))) == 3
    cluster.move(KEY, first)
    third.kill()
    with pytest.raises(RelayError, match=f"{third.port}"):
        client.run(lambda r: r.xlen(KEY))
    assert client.run(lambda r: r.xlen(KEY)) == 3, "by the url"


# -- without hiredis, and with its own words -----------------------------------------------------------------

PLAIN = """
import sys
sys.modules["hiredis"] = None
from kalshi_feed import RelayError
from kalshi_feed.relay.client import RedisClient, ReplyTooLong
import redis
assert not redis.utils.HIREDIS_AVAILABLE
good, *broken = sys.argv[1:]
client = RedisClient(good, longest_reply=1_000_000)
added = client.run_each([("XADD", "s", "1-1", "p", b"x" * 2_000_000), ("XADD", "s", "1-2", "p", b"")])
assert added == [b"1-1", b"1-2"]
try:
    client.run(lambda r: r.xread({"s": "0"}))
except ReplyTooLong:
    pass
assert len(client.run(lambda r: r.xread({"s": "1-1"}))[0][1]) == 1
client.close()
for url in broken:
    client = RedisClient(url)
    client.run(lambda r: r.ping())
    try:
        client.run(lambda r: r.ping())
    except RelayError as error:
        assert error.retryable and "not a reply" in str(error), error
    client.close()
print("good")
"""


@pytest.mark.slow
def test_without_hiredis(redis_server: RedisServer) -> None:
    with answering(b"+PONG\r\n", b"$x\r\n") as wrong, answering(b"+PONG\r\n", b"*1\r\n" * 5000) as deep:
        words = [sys.executable, "-c", PLAIN, redis_server.url, wrong, deep]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout == "good\n", ended.stderr
