"""Flask applications for the tests: configuration, a server in this process, a server-sent events reader."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flask
import pytest
from werkzeug.serving import make_server

from kalshi_feed.contrib.flask import FeedExtension, feed_blueprint
from kalshi_feed.contrib.flask.process_state import ProcessState
from tests.cli.support import Access
from tests.support import wait_until

__all__ = ["Event", "application", "desk_of", "events_of", "get", "needs_fork", "serving", "stream"]


def application(access: Access, **config: Any) -> tuple[flask.Flask, FeedExtension]:
    """An application configured for the tests' exchange; close the extension afterwards."""
    app = flask.Flask("of_the_tests")
    app.testing = True
    app.config.update(
        KALSHI_API_KEY_ID=access.exchange.api_key_id,
        KALSHI_PRIVATE_KEY_PATH=access.key_file,
        KALSHI_URL=access.exchange.url,
        KALSHI_CA_FILE=access.ca_file,
        KALSHI_TICKERS=["KX-A", "KX-B"],
    )
    app.config.update(config)
    feeds = FeedExtension(app)
    app.register_blueprint(feed_blueprint())
    return app, feeds


def desk_of(app: flask.Flask) -> ProcessState:
    """The application's state in this process."""
    found: ProcessState = app.extensions["kalshi_feed"].state()
    return found


@contextmanager
def serving(app: flask.Flask, feeds: FeedExtension) -> Iterator[int]:
    """Run Flask's own server and return its port; closes the feed too."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()  # first: a browser reconnects, and would start another feed
        thread.join(5)
        slots = desk_of(app).slots
        feeds.close(app)
        wait_until(lambda: slots.taken == 0, 10, "the streams to end with their feed")
        server.server_close()


def get(port: int, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class Event(NamedTuple):
    """One event of a stream; a comment is of kind ":"."""

    kind: str
    data: Any


def events_of(chunk: str) -> list[Event]:
    """The events in a string of complete ones."""
    found = []
    for block in chunk.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append(Event(fields["event"], json.loads(fields["data"])))
        elif block.startswith(":"):
            found.append(Event(":", block))
    return found


@contextmanager
def stream(port: int, path: str = "/stream") -> Iterator[Iterator[Event]]:
    """The events of an open stream, one by one; closes it at the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/event-stream"), answer.read()

        def events() -> Iterator[Event]:
            block = ""
            while line := answer.readline().decode():
                block += line
                if line == "\n":
                    yield from events_of(block)
                    block = ""

        yield events()
        answer.close()
    finally:
        connection.close()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()")
