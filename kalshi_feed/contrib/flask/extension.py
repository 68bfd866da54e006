"""FeedExtension: one feed per process for a Flask application.

Owns the extension and what it keeps for each application.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import Flask, current_app

from ...connection.environment import rest_url_of
from ...errors import ConfigurationError
from ...feed import KalshiFeed
from ..process import ProcessFeed
from .process_state import ProcessState
from .settings import Settings

if TYPE_CHECKING:
    from ...rest import Rest

__all__ = ["FeedExtension", "process_state_of"]

C = TypeVar("C", bound=Callable[[KalshiFeed], object])
_KEY: Final = "kalshi_feed"


class FeedExtension:
    """A live feed for Flask applications: ``FeedExtension(app)``, or ``init_app(app)`` in an application
    factory.

    Configured by ``app.config``, or by environment variables of the same names: KALSHI_API_KEY_ID,
    KALSHI_PRIVATE_KEY_PATH or KALSHI_PRIVATE_KEY, KALSHI_PRIVATE_KEY_PASSWORD, KALSHI_ENV or KALSHI_URL,
    KALSHI_REST_URL, KALSHI_CA_FILE, and lists, or strings with commas: KALSHI_TICKERS, KALSHI_SERIES and
    KALSHI_EVENTS (followed, see KalshiFeed.follow(); need the extra ``rest``) and KALSHI_CHANNELS.
    ``feed_arguments`` are further arguments of KalshiFeed, such as ``workers=4``.

    KALSHI_RELAY=redis://… takes the place of key and exchange: then each process's feed is a consumer of that
    relay (extra ``redis``). KALSHI_RELAY_NAME, KALSHI_RELAY_PASSWORD or KALSHI_RELAY_PASSWORD_FILE, and
    KALSHI_RELAY_CA_FILE belong to it.

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
        """Read the configuration.

        Raises ConfigurationError, CredentialsError and, for a missing extra, ImportError, so that a mistake
        stops the server when it starts.
        """
        of_app = _FeedOfApp(Settings.read(app.config, os.environ), self._arguments, self._prepare)
        of_app.check()
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
        of_app.close(timeout)


class _FeedOfApp:
    """One application's settings, and its feed and state in the current process. Thread-safe."""

    def __init__(
        self, settings: Settings, arguments: dict[str, Any], prepare: list[Callable[[KalshiFeed], object]]
    ) -> None:
        self._settings = settings
        self._arguments = arguments
        self._prepare = prepare
        self._state: ProcessState | None = None  # written by make() only, before get() returns the feed
        self._rest: Rest | None = None  # what this process's feed lists markets with, if it follows any
        self.process = ProcessFeed(self.make)

    def check(self) -> None:
        """Make a feed only to see whether its arguments are right. Raises ConfigurationError, ImportError."""
        _, rest = self._bare()
        if rest is not None:
            rest.close()

    def _bare(self) -> tuple[KalshiFeed, Rest | None]:
        """A feed with the configured arguments and subscriptions, not started, and its Rest."""
        settings = self._settings
        feed = settings.make_feed(self._arguments)
        is_following = bool(settings.series or settings.events)
        if settings.channels and (settings.market_tickers or not is_following):
            feed.subscribe(settings.channels, settings.market_tickers or None)
        rest = None
        if is_following and settings.feed is not None:  # a consumer's relay asks for the markets
            rest = _rest(settings, {**settings.feed, **self._arguments})
        try:
            name = "KALSHI_SERIES"
            for series in settings.series:
                feed.follow(series=series, channels=settings.channels, rest=rest)
            name = "KALSHI_EVENTS"
            for event in settings.events:
                feed.follow(event=event, channels=settings.channels, rest=rest)
        except ConfigurationError as error:
            raise ConfigurationError(f"cannot be followed: {error}", name) from error
        return feed, rest

    def make(self) -> KalshiFeed:
        """A feed with its state and the application's callbacks, not started."""
        feed, self._rest = self._bare()
        self._state = ProcessState(feed, self._settings)
        for prepare in self._prepare:
            prepare(feed)
        return feed

    def start(self) -> None:
        """Runs before each request; starts the feed before the process's first one."""
        self.process.get()

    def close(self, timeout: float) -> None:
        """Close this process's feed, if any, within ``timeout`` seconds."""
        rest, self._rest = self._rest, None  # first, because the next request may make others
        self.process.close(timeout)
        if rest is not None:
            rest.close()

    def end_streams(self) -> None:
        """End the streams of this process, if it has a feed."""
        if self._state is not None:
            self._state.slots.ended = True

    def state(self) -> ProcessState:
        """This process's state; starts its feed if necessary."""
        self.process.get()
        assert self._state is not None
        return self._state


def _rest(settings: Settings, arguments: Mapping[str, Any]) -> Rest:
    """What lists the markets, for all of a feed's series and events: without a key, for the feed's exchange.

    Raises ConfigurationError, and ImportError without the extra ``rest``.
    """
    try:
        from ...rest import Rest
    except ImportError as error:
        raise ImportError(f"KALSHI_SERIES and KALSHI_EVENTS: {error}") from None
    return Rest(
        url=settings.rest_url or rest_url_of(arguments["url"]),
        ssl_context=arguments["ssl_context"],
        proxy=arguments.get("proxy"),
    )


def process_state_of() -> ProcessState:
    """The current application's state in this process. Raises RuntimeError if it has no FeedExtension."""
    of_app = current_app.extensions.get(_KEY)
    if of_app is None:
        raise RuntimeError(
            "this application has no feed: write FeedExtension(app), or init_app(app), as well"
        )
    found: ProcessState = of_app.state()
    return found
