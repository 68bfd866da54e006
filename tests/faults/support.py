"""What the fault tests share: servers that answer by a script, a proxy with a password, and feeds that use
them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from kalshi_feed import FeedState, HandshakeRejected, KalshiFeed, StateChange
from kalshi_feed.session.timing import Timing
from tests.connection.raw_server import Peer, RawServer
from tests.feed.support import FeedMaker, Recorder
from tests.support import wait_until

__all__ = [
    "BASIC",
    "PASSWORD",
    "URL_PASSWORD",
    "USER",
    "Answer",
    "HealthyAtOnce",
    "Script",
    "fatal",
    "first_retry",
    "of",
    "says",
    "through",
]

USER, PASSWORD = "us3r", "hunter2-password"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
URL_PASSWORD = "hunter2-in-the-url"
Answer = bytes | Callable[[Peer], None]


class HealthyAtOnce(KalshiFeed):
    """A feed that counts any session with every book LIVE as healthy, however short."""

    _timing = Timing(healthy_live=0.0)


class Script:
    """Return a server's handler: the first connections get these answers, the others a good handshake."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[dict[str, str]] = []

    def __call__(self, peer: Peer) -> None:
        answer = self._answers.pop(0) if self._answers else None
        self.requests.append(peer.read_request())  # before the answer, because the feed goes on with it
        if answer is None:
            peer.handshake()
        elif isinstance(answer, bytes):
            peer.send(answer)
        else:
            answer(peer)
        peer.wait_closed()

    def stamps(self) -> list[float]:
        """Return when the requests were signed, in Unix seconds of the feed's clock."""
        return [int(request["kalshi-access-timestamp"]) / 1000 for request in self.requests]


def says(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Build an HTTP response."""
    return (
        "\r\n".join([f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
        + body
    )


def of(make_feed: FeedMaker, server: RawServer, **options: object) -> tuple[KalshiFeed, Recorder]:
    """Return a feed of this server, not started, and the list of everything that it reports."""
    feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2", ssl_context=None, **options)
    return feed, Recorder(feed)


def fatal(feed: KalshiFeed, heard: Recorder) -> HandshakeRejected:
    """Start the feed, which must fail with an error that its callbacks get in the same words."""
    with pytest.raises(HandshakeRejected) as caught:
        feed.start().wait_until_connected(10)
    wait_until(lambda: FeedState.FAILED in heard.steps())
    assert heard.states[-1].reason == str(caught.value)
    return caught.value


def through(server: RawServer) -> str:
    """The URL of the proxy that this server plays, with user name and password."""
    return f"http://{USER}:{PASSWORD}@127.0.0.1:{server.port}"


def first_retry(feed: KalshiFeed, heard: Recorder) -> StateChange:
    """Start the feed, which must decide to dial again; do not wait for that dial."""
    feed.start()
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    feed.close()
    assert heard.steps()[:2] == [FeedState.CONNECTING, FeedState.RECONNECTING]
    return heard.states[1]
