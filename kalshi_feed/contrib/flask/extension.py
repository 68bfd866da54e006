"""FeedExtension: one feed per process for a Flask application.

Owns the extension and what it keeps for each application.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flask import Flask, current_app

from ...feed import KalshiFeed
from ..process import ProcessFeed
from .process_state import ProcessState
from .settings import Settings

__all__ = ["FeedExtension", "process_state_of"]

C = TypeVar("C", bound=Callable[[KalshiFeed], object])
_KEY: Final = "kalshi_feed"


class FeedExtension:
    """A live feed for Flask applications: ``FeedExtension(app)``, or ``init_app(app)`` in an application
    factory.

    Configured by ``app.config``, or by environment variables of the same names: KALSHI_API_KEY_ID,
    KALSHI_PRIVATE_KEY_PATH or KALSHI_PRIVATE_KEY, KALSHI_PRIVATE_KEY_PASSWORD, KALSHI_ENV or KALSHI_URL,
    KALSHI_CA_FILE, KALSHI_TICKERS and KALSHI_CHANNELS (lists, or strings with commas). ``feed_arguments`` are
    further arguments of KalshiFeed, such as ``workers=4``.

    No thread is started before the process's first request: the debug reloader's parent and gunicorn's master
    (with or without --preload) hold no feed, and every worker has its own. It is closed when the interpreter
    exits. Thread-safe.
    """

    def __init__(self, app: Flask | None = None, **feed_arguments: Any) -> None:
        self._arguments = feed_arguments
        self._prepare: list[Callable[[KalshiFeed], object]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the configuration. Raises ConfigurationError and CredentialsError, so that a mistake stops the
        server when it starts."""
        of_app = _FeedOfApp(Settings.read(app.config, os.environ), self._arguments, self._prepare)
        of_app.bare()  # made only to check the arguments, then dropped
        app.extensions[_KEY] = of_app
        app.before_request(of_app.start)

    def on_start(self, function: C) -> C:
        """Call ``function(feed)`` with each process's feed before it starts: the place for callbacks and
        subscriptions."""
        self._prepare.append(function)
        return function

    @property
    def feed(self) -> KalshiFeed:
        """The current application's feed in this process, started. Needs an application context.

        A view that returns its metrics writes ``jsonify(feeds.feed.stats().to_dict())``.
        """
        return process_state_of().feed

    def end_streams(self, app: Flask) -> None:
        """End this process's streams and allow no new ones: for a server that is about to stop and would wait
        for them.

        May be called from a signal handler; takes no lock.
        """
        of_app: _FeedOfApp = app.extensions[_KEY]
        of_app.end_streams()

    def close(self, app: Flask, timeout: float = 5.0) -> None:
        """Close this process's feed of ``app``; the next request starts another."""
        of_app: _FeedOfApp = app.extensions[_KEY]
        of_app.process.close(timeout)


class _FeedOfApp:
    """One application's settings, and its feed and state in the current process. Thread-safe."""

    def __init__(
        self, settings: Settings, arguments: dict[str, Any], prepare: list[Callable[[KalshiFeed], object]]
    ) -> None:
        self._settings = settings
        self._arguments = arguments
        self._prepare = prepare
        self._state: ProcessState | None = None  # written by make() only, before get() returns the feed
        self.process = ProcessFeed(self.make)

    def bare(self) -> KalshiFeed:
        """A feed with the configured arguments and subscriptions, not started."""
        settings = self._settings
        feed = KalshiFeed(**{**settings.feed, **self._arguments})
        if settings.channels:
            feed.subscribe(settings.channels, settings.market_tickers or None)
        return feed

    def make(self) -> KalshiFeed:
        """A feed with its state and the application's callbacks, not started."""
        feed = self.bare()
        self._state = ProcessState(feed, self._settings)
        for prepare in self._prepare:
            prepare(feed)
        return feed

    def start(self) -> None:
        """Runs before each request; starts the feed before the process's first one."""
        self.process.get()

    def end_streams(self) -> None:
        """End the streams of this process, if it has a feed."""
        if self._state is not None:
            self._state.slots.ended = True

    def state(self) -> ProcessState:
        """This process's state; starts its feed if necessary."""
        self.process.get()
        assert self._state is not None
        return self._state


def process_state_of() -> ProcessState:
    """The current application's state in this process. Raises RuntimeError if it has no FeedExtension."""
    of_app = current_app.extensions.get(_KEY)
    if of_app is None:
        raise RuntimeError(
            "this application has no feed: write FeedExtension(app), or init_app(app), as well"
        )
    found: ProcessState = of_app.state()
    return found
