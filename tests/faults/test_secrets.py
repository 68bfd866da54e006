"""K01 to K05 and K11 through the whole feed: keys, signatures and passwords show up nowhere.

The parts' own tests are in tests/test_credentials.py and tests/connection. After each test, conftest.py scans
every log record and every error that is alive. This file has an error of every class, and whatever else can
be shown.
"""

# mypy: no-strict-equality

from __future__ import annotations

import dataclasses
import gc
import io
import logging
import os
import pickle
import signal
import ssl
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websocket

from kalshi_feed import (
    AuthenticationError,
    Credentials,
    FeedForkedError,
    FeedState,
    KalshiFeed,
    KalshiFeedError,
    ReconnectPolicy,
    errors,
)
from kalshi_feed.messages import decode
from kalshi_feed.relay.client import RedisClient
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks.url import open_sink
from tests import inside
from tests.connection.raw_server import Peer, RawServer, frame
from tests.connection.tunnel import Tunnel
from tests.faults.secrets import Secrets, shown_with_locals
from tests.faults.support import BASIC, PASSWORD, URL_PASSWORD, USER, through
from tests.feed.support import A, FeedMaker, HurriedFeed, Recorder, wait_equal
from tests.support import end_if_it_hangs, wait_until

NEVER = ReconnectPolicy.never()


@pytest.fixture(autouse=True)
def more_secrets(secrets: Secrets) -> None:
    secrets.add(USER, PASSWORD, BASIC, URL_PASSWORD)


# -- every error ---------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """What the provocations need."""

    exchange: Exchange
    make_feed: FeedMaker
    secrets: Secrets
    monkeypatch: pytest.MonkeyPatch
    folder: Path
    heard: list[Recorder] = dataclasses.field(default_factory=list)
    rests: list[Rest] = dataclasses.field(default_factory=list)

    def feed(self, cls: Callable[..., KalshiFeed] = KalshiFeed, **options: Any) -> KalshiFeed:
        feed = self.make_feed(cls, **options)
        self.heard.append(Recorder(feed))
        return feed

    def rest(self, **options: Any) -> Rest:
        known: dict[str, Any] = {"url": self.exchange.rest_url, "ssl_context": self.exchange.ssl_context}
        rest = Rest(self.exchange.credentials, **{**known, "retry_for": 0, "timeout": 2, **options})
        self.rests.append(rest)
        return rest

    def environ(self, **more: str) -> dict[str, str]:
        pem = self.exchange.private_key_pem.decode()
        return {"KALSHI_API_KEY_ID": self.exchange.api_key_id, "KALSHI_PRIVATE_KEY": pem, **more}


def echoes(scene: Scene, line: str) -> Callable[[Peer], None]:
    """A server that sends back everything it received, in every way it can think of."""

    def handler(peer: Peer) -> None:
        sent = peer.read_request()
        signature, key = sent["kalshi-access-signature"], sent["kalshi-access-key"]
        scene.secrets.add(signature, signature[:30], signature[-30:], signature.upper(), key, key.upper())
        half = len(signature) // 2
        ways = [
            peer.request.decode(),
            repr(sent),
            signature.upper(),
            signature.replace("/", "\\/"),
            signature.replace("+", "&#43;").replace("=", "&#61;"),
            signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
            f"<b>{key.upper()}</b>",
        ]
        body = f"{ways[int(line[-1])]}".encode()
        chunks = [body[:half], body[half:], b""]
        peer.send(
            f"HTTP/1.1 {line[:3]} No {signature}\r\nLocation: wss://other.example/{signature}\r\n".encode()
        )
        peer.send(f"X-Echo: {signature}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        peer.send(b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks))
        peer.wait_closed()

    return handler


def refused(scene: Scene, handler: Callable[[Peer], None]) -> None:
    with RawServer(handler) as server:
        feed = scene.feed(
            url=f"ws://127.0.0.1:{server.port}/x?token={URL_PASSWORD}", ssl_context=None, reconnect=NEVER
        )
        feed.start().wait_until_connected(10)


def defect(scene: Scene) -> None:
    def receive(*_: Any) -> None:
        try:
            pem = scene.exchange.private_key_pem
            raise ValueError(len(pem))
        except ValueError:
            raise RuntimeError("a defect")  # noqa: B904

    feed = scene.feed()
    scene.monkeypatch.setattr(type(inside.session(feed)), "receive", receive)
    feed.start().wait_for_book(A, 10)


def wrong_arguments(scene: Scene, **options: Any) -> None:
    pem = scene.exchange.private_key_pem.decode()
    KalshiFeed(options.pop("credentials", scene.exchange.credentials), **{"name": "x", **options})
    raise AssertionError(f"nothing was refused ({len(pem)})")


def from_wrong_env(scene: Scene, variables: dict[str, str], **overrides: Any) -> None:
    """With the key in the environment of this process, as in a container."""
    for name, value in scene.environ(**variables).items():
        scene.monkeypatch.setenv(name, value)
    KalshiFeed.from_env(**overrides)


def lost(scene: Scene) -> None:
    feed = scene.feed(reconnect=NEVER).start()
    feed.wait_for_book(A, 5)
    scene.exchange.disconnect()
    feed.wait_for("trade", timeout=10)


def closed_with_echo(scene: Scene) -> None:
    def handler(peer: Peer) -> None:
        peer.handshake()
        signature = peer.request.decode().partition("SIGNATURE: ")[2].partition("\r")[0]
        scene.secrets.add(signature, signature[:30])
        peer.send(frame(8, (4001).to_bytes(2, "big") + b"bad signature\n" + signature.encode()))
        peer.wait_closed()

    with RawServer(handler) as server:
        feed = scene.feed(url=f"ws://127.0.0.1:{server.port}/", ssl_context=None, reconnect=NEVER).start()
        feed.wait_for("trade", timeout=10)


def refused_subscription(scene: Scene) -> None:
    scene.exchange.refuse_commands(9, "not entitled", "subscribe", None)
    scene.feed().start().subscribe("fill").wait(5)


def stale(scene: Scene) -> None:
    feed = scene.feed().start()
    feed.wait_for_book(A, 5)
    feed.close()
    feed.book(A).view(require_live=True)


def unknown(scene: Scene) -> None:
    scene.feed().start().wait_for_book("KXNOBODY", 5)


def closed(scene: Scene) -> None:
    feed = scene.feed().start()
    feed.close()
    feed.wait_for_book(A, 5)


def impatient(scene: Scene) -> None:
    with RawServer(lambda peer: None) as server:
        feed = scene.feed(proxy=through(server)).start()
        wait_until(lambda: feed.state is FeedState.RECONNECTING)
        feed.wait_for_book(A, 0.05)


def proxied(scene: Scene) -> None:
    with RawServer(Tunnel(f"HTTP/1.1 407 No {USER}:{PASSWORD} {BASIC}\r\n\r\n".encode())) as server:
        scene.feed(proxy=through(server)).start().wait_until_connected(5)


def forked(scene: Scene) -> None:
    """The search runs in the child, which has the key in its memory, too."""
    feed = scene.feed().start()
    feed.wait_for_book(A, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: fork with threads
        pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0, "the child found a secret, or no error"
        raise FeedForkedError("looked at in the child")
    status = 1
    try:
        end_if_it_hangs()
        feed.book(A)
    except KalshiFeedError as error:
        status = any(scene.secrets.found_in(text) for text in shown(error))
    finally:
        os._exit(int(status))


def asked(scene: Scene, handler: Callable[[Peer], None]) -> None:
    """The same server in place of the REST API."""
    with RawServer(handler) as server, scene.rest(url=f"http://127.0.0.1:{server.port}/x") as rest:
        rest.limits()


def asked_through_a_proxy(scene: Scene) -> None:
    with RawServer(Tunnel(f"HTTP/1.1 407 No {USER}:{PASSWORD} {BASIC}\r\n\r\n".encode())) as server:
        with scene.rest(proxy=through(server)) as rest:
            rest.limits()


def asked_redis(scene: Scene, port: int = 9) -> None:
    """Redis is not there."""
    RedisClient(f"redis://desk:{PASSWORD}@127.0.0.1:{port}", timeout=2).run(lambda redis: redis.ping())


def asked_a_parrot(scene: Scene) -> None:
    """What calls itself Redis repeats the password in its error."""

    def handler(peer: Peer) -> None:
        said = peer.sock.recv(65_536).replace(b"\r\n", b" ")
        assert PASSWORD.encode() in said
        peer.send(b"-ERR " + said + b"\r\n")
        peer.wait_closed()

    with RawServer(handler) as server:
        asked_redis(scene, server.port)


PROVOCATIONS: dict[str, list[Callable[[Scene], object]]] = {
    "KalshiFeedError": [defect],
    "ConfigurationError": [
        lambda scene: wrong_arguments(scene, credentials=scene.exchange.private_key_pem.decode()),
        lambda scene: wrong_arguments(scene, url=f"wss://me:{URL_PASSWORD}@exchange.example/"),
        lambda scene: wrong_arguments(scene, url=f"wss://[me:{URL_PASSWORD}@exchange.example/"),
        lambda scene: wrong_arguments(scene, url=f"ws://exchange.example/?token={URL_PASSWORD}"),
        lambda scene: wrong_arguments(scene, proxy=f"socks5://{USER}:{PASSWORD}@proxy.example:1"),
        lambda scene: wrong_arguments(scene, proxy=f"http://{USER}:{PASSWORD}@proxy.example:port"),
        lambda scene: wrong_arguments(
            scene, proxy=f"http://{USER}:{PASSWORD}@proxy.example", idle_timeout=-1
        ),
        lambda scene: wrong_arguments(scene, proxy=f"http://{USER}:{PASSWORD}@proxy.example", queue_size=-1),
        lambda scene: wrong_arguments(
            scene, proxy=f"http://{USER}:{PASSWORD}@proxy.example", ssl_context="x"
        ),
        lambda scene: from_wrong_env(scene, {"KALSHI_ENV": "moon"}),
        lambda scene: from_wrong_env(scene, {}, idle_timeout=-1),
        lambda scene: from_wrong_env(scene, {"HTTPS_PROXY": f"socks5://{USER}:{PASSWORD}@proxy.example"}),
        lambda scene: KalshiFeed.from_env(environ=scene.environ(KALSHI_ENV="moon")),
        lambda scene: KalshiFeed.from_env(environ=scene.environ(), workers=0),
    ],
    "CredentialsError": [
        lambda scene: Credentials.from_pem("key", scene.exchange.private_key_pem[:-20]),
        lambda scene: Credentials.from_file("key", scene.exchange.private_key_pem.decode()),
        lambda scene: Credentials.from_env(scene.environ(KALSHI_PRIVATE_KEY_PATH="x")),
        lambda scene: KalshiFeed.from_env(environ=scene.environ(KALSHI_API_KEY_ID="")),
    ],
    "ConnectionFailed": [
        lambda scene: refused(scene, lambda peer: None),
        lambda scene: refused(scene, says_back),
        lambda scene: (
            scene.feed(url="ws://127.0.0.1:9/", ssl_context=None, reconnect=NEVER)
            .start()
            .wait_until_connected(5)
        ),
    ],
    "HandshakeRejected": [lambda scene, n=n: refused(scene, echoes(scene, f"404 {n}")) for n in range(7)]
    + [
        lambda scene: refused(scene, echoes(scene, "302 0")),
        lambda scene: refused(scene, echoes(scene, "500 3")),
    ],
    "AuthenticationError": [lambda scene, n=n: refused(scene, echoes(scene, f"401 {n}")) for n in range(7)],
    "TLSError": [
        lambda scene: scene.feed(ssl_context=ssl.create_default_context()).start().wait_until_connected(5)
    ],
    "ProxyError": [proxied],
    "ConnectionLost": [lost, closed_with_echo],
    "ProtocolError": [lambda scene: decode('{"type":"orderbook_delta"')],
    "SubscriptionError": [refused_subscription],
    "StaleBookError": [stale],
    "UnknownMarketError": [unknown],
    "WaitTimeout": [impatient],
    "FeedClosedError": [closed],
    "FeedForkedError": [forked],
    "RestError": [
        *(
            lambda scene, n=n: asked(scene, echoes(scene, f"{n}"))
            for n in ("200 0", "302 0", "403 5", "500 1")
        ),
        *(lambda scene, n=n: asked(scene, echoes(scene, f"401 {n}")) for n in range(7)),
        lambda scene: asked(scene, lambda peer: None),
        lambda scene: asked(scene, says_nonsense),
        lambda scene: scene.rest(ssl_context=None).market(A),
        lambda scene: scene.rest(url="http://127.0.0.1:9").market(A),
        asked_through_a_proxy,
    ],
    "RelayError": [asked_redis, asked_a_parrot],
    "SinkError": [lambda scene: open_sink(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:9/feed")],
}


def says_nonsense(peer: Peer) -> None:
    """Headers that http.client refuses to read, and that name the signature."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 X\r\n" + peer.request + b"\r\n" * 3 + b"x" * 100_000)
    peer.wait_closed()


def says_back(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + peer.request.partition(b"\r\n")[2] + b"\r\n\r\n")
    peer.wait_closed()


def shown(error: BaseException) -> list[str]:
    """Return everything an error can show: strings, locals, its pickle, and the printed traceback."""
    return [
        *shown_with_locals(error),
        "".join(traceback.format_exception(type(error), error, None)),
        *([pickle.dumps(error).decode("latin-1")] if isinstance(error, KalshiFeedError) else []),
    ]


def test_K02_every_class_of_error_is_provoked() -> None:
    assert set(errors.__all__) == set(PROVOCATIONS)


@pytest.mark.parametrize(
    ("kind", "provoke"),
    [
        pytest.param(kind, each, id=f"{kind}-{n}")
        for kind, several in PROVOCATIONS.items()
        for n, each in enumerate(several)
    ],
)
def test_K01_K02_K04_K11_no_error_and_no_event_shows_a_secret(
    kind: str,
    provoke: Callable[[Scene], object],
    exchange: Exchange,
    make_feed: FeedMaker,
    secrets: Secrets,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(1)
    scene = Scene(exchange, make_feed, secrets, monkeypatch, tmp_path)
    with pytest.raises(KalshiFeedError) as caught:
        provoke(scene)
    assert type(caught.value).__name__ == kind
    for text in shown(caught.value):
        secrets.check(text, f"a {kind}")
    for record in caplog.records:
        if record.exc_info and record.exc_info[1]:
            for text in shown(record.exc_info[1]):
                secrets.check(text, "the log record of an error")
    for heard in scene.heard:
        for event in heard.received:
            secrets.check(
                f"{event} {event!r} {pickle.dumps(event).decode('latin-1')}", f"a {type(event).__name__}"
            )
        for fault in heard.faults:
            for text in shown(fault.error) if fault.error else ():
                secrets.check(text, "the error of a FeedFault")


def test_K02_ctrl_c_during_a_request_shows_no_header(exchange: Exchange, secrets: Secrets) -> None:
    def interrupt(peer: Peer) -> None:
        secrets.add(peer.read_request()["kalshi-access-signature"])
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # ends its recv()
        peer.wait_closed()

    with RawServer(interrupt) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # urllib3 leaves its socket to the garbage collector
        with Rest(exchange.credentials, url=f"http://127.0.0.1:{server.port}") as rest:
            with pytest.raises(KeyboardInterrupt) as caught:
                rest.limits()
        gc.collect()
    for text in shown(caught.value):
        secrets.check(text, "what Ctrl-C leaves")


def test_K02_an_unknown_argument_reveals_nothing_either(exchange: Exchange, secrets: Secrets) -> None:
    environ = {
        "KALSHI_API_KEY_ID": exchange.api_key_id,
        "KALSHI_PRIVATE_KEY": exchange.private_key_pem.decode(),
    }
    with pytest.raises(TypeError) as caught:
        KalshiFeed.from_env(environ=environ, idle=3)
    # the traceback is there
    assert any("kalshi_feed/feed.py" in text for text in shown_with_locals(caught.value))
    for text in shown(caught.value):
        secrets.check(text, "a TypeError")


def test_K02_the_search_finds_what_is_there(exchange: Exchange, secrets: Secrets) -> None:
    import json

    with pytest.raises(ValueError) as caught:
        json.loads(exchange.private_key_pem)
    assert any(secrets.found_in(text) for text in shown(caught.value))


# -- a whole life --------------------------------------------------------------------------------------------


def test_K01_K03_K05_a_life_full_of_failures_with_everything_logged(
    exchange: Exchange, make_feed: FeedMaker, secrets: Secrets, caplog: pytest.LogCaptureFixture
) -> None:
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    websocket.enableTrace(True, handler=handler)
    try:
        with caplog.at_level(1), RawServer(Tunnel()) as server:
            feed = make_feed(HurriedFeed, proxy=through(server))
            heard = Recorder(feed)
            exchange.reject_next(status=503, body=b"busy")
            feed.start().wait_for_book(A, 5)
            exchange.corrupt({"price_dollars": "NaN"})
            exchange.change(A, "yes", "0.41", "1")
            wait_until(lambda: heard.faults)
            exchange.refuse_commands(9, "no", "subscribe", 1)
            refused = feed.subscribe("fill")
            wait_until(lambda: refused.error is not None)
            exchange.reset()
            wait_until(lambda: feed.stats().reconnects == 1)
            wait_equal(feed, exchange, A)
            exchange.reject_next(status=401, body=b"who are you")
            exchange.close_connections(1011, "trouble")
            wait_until(lambda: FeedState.FAILED in heard.steps())
            with pytest.raises(AuthenticationError):
                feed.wait_for_book(A, 5)
            shown = [
                *(
                    f"{thing} {thing!r}"
                    for thing in (feed, feed.stats(), feed.health(), feed.subscriptions, feed.books)
                ),
                *(repr(vars(thing)) for thing in (feed, inside.engine(feed), inside.engine(feed)._state)),
                repr(dataclasses.asdict(feed.health())),
                *(
                    pickle.dumps(thing).decode("latin-1")
                    for thing in (*heard.received, feed.stats(), feed.health())
                ),
            ]
            feed.close()
    finally:
        websocket.enableTrace(False)
        logging.getLogger("websocket").removeHandler(handler)
    texts = [printed.getvalue(), *map(logging.Formatter().format, caplog.records), *shown]
    for text in texts:
        secrets.check(text, "what a feed shows or logs")
    assert printed.getvalue().count("KALSHI-ACCESS-SIGNATURE: [redacted]") == 4  # the trace was on
    assert "KALSHI-ACCESS-KEY: [redacted]" in printed.getvalue()
