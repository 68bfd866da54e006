"""The blueprint: books, health, metrics and streams of the current application's feed, and the page that
shows them.

Owns the URLs. They show market data to anyone who can reach them: if that matters, put your own login in
front of them (``blueprint.before_request``).
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, abort, jsonify, request
from flask.typing import ResponseReturnValue

from ...books.book import BookStatus
from ...errors import KalshiFeedError
from ...extras import how_to_install
from ...messages.phase import has_ended
from .extension import process_state_of
from .process_state import ProcessState
from .streams import drop_if_slow, events

__all__ = ["feed_blueprint"]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def feed_blueprint(name: str = "kalshi_feed") -> Blueprint:
    """A new blueprint for ``app.register_blueprint(…, url_prefix=…)``; the application needs a FeedExtension.

    ``/`` the page, ``/books`` and ``/books/<ticker>`` (``?depth=`` levels of each side), ``/health``,
    ``/metrics`` (extra ``prometheus``), ``/stream`` and ``/stream/<ticker>``.

    Each open stream, and so each open page, occupies one thread of the server: start it with more threads
    than that. Waitress has four by default, so four open pages would leave none for other requests
    (``waitress-serve --threads=40``; KALSHI_STREAM_CLIENTS limits the streams).
    """
    # not under /static: without a url_prefix that would be the application's own
    blueprint = Blueprint(name, __name__, static_folder="page", static_url_path="/page")

    @blueprint.get("/")
    def page() -> ResponseReturnValue:
        answer = blueprint.send_static_file("index.html")
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    blueprint.get("/books")(_books)
    blueprint.get("/books/<market_ticker>")(_book)
    blueprint.get("/health")(_health)
    blueprint.get("/metrics")(_metrics)
    blueprint.get("/stream")(_stream)
    blueprint.get("/stream/<market_ticker>")(_stream)
    return blueprint


def _books() -> ResponseReturnValue:
    """Every book that is served, whatever its status, with its market's description, and the feed's
    metrics."""
    state, depth = process_state_of(), _depth()
    metrics = state.metrics()
    books = [
        state.book(book, depth) | state.description(book)
        for ticker in state.market_tickers()
        if (book := state.served(ticker)) is not None
    ]
    return _fresh(jsonify(feed=metrics, books=books))


def _book(market_ticker: str) -> ResponseReturnValue:
    """200 with the book and its market's description; 503 with the reason and the last known book while it is
    not LIVE.

    404 for a market that is not served, that the exchange does not know, or whose book is not LIVE because
    the market has ended.
    """
    state, depth = process_state_of(), _depth()
    book = state.served(market_ticker)
    if book is None:
        return _no_market(state, market_ticker)
    if not book.is_live and book.market is not None and has_ended(book.market):
        return _no_market(state, market_ticker)
    # no waiting: that would make the server ask the exchange again, and any client could trigger it
    if book.status is BookStatus.UNKNOWN:
        return _fresh(jsonify(state.book(book, depth) | state.description(book))), 404
    try:
        state.feed.wait_for_book(market_ticker, timeout=state.settings.patience)
    except KalshiFeedError as error:  # not connected, no snapshot, STALE, a key that is refused …
        reason = str(error)
    else:
        reason = ""
    found = state.book(book, depth) | state.description(book)
    if found["status"] == "LIVE":
        return _fresh(jsonify(found))
    answer = {"error": reason or f"the book of {market_ticker} is {found['status']}"} | found
    return _fresh(jsonify(answer)), 404 if found["status"] == BookStatus.UNKNOWN.value else 503


def _health() -> ResponseReturnValue:
    """503 while no data can arrive."""
    found = process_state_of().feed.health()
    return _fresh(jsonify(found.to_dict())), 503 if found.status == "down" else 200


def _metrics() -> ResponseReturnValue:
    """This process's feed for Prometheus."""
    try:
        from .metrics import exposition
    except ImportError as error:
        return jsonify(error=f"metrics need prometheus_client ({error}); {how_to_install('prometheus')}"), 501
    text, content_type = exposition(process_state_of().feed)
    return _fresh(Response(text, content_type=content_type))


def _stream(market_ticker: str | None = None) -> ResponseReturnValue:
    """Server-sent events of one market or of all of them; see events()."""
    state = process_state_of()
    if market_ticker is not None and state.served(market_ticker) is None:
        return _no_market(state, market_ticker)
    if not request.environ.get("wsgi.multithread"):
        return jsonify(
            error="a stream would keep this server from answering other requests; use threads: gunicorn "
            "--threads 16"
        ), 501
    if request.method == "HEAD":
        return Response(mimetype="text/event-stream")
    if not state.slots.take():
        answer = jsonify(
            error=f"{state.slots.taken} streams are open (KALSHI_STREAM_CLIENTS), or this server is about to "
            "stop"
        )
        answer.headers["Retry-After"] = "5"
        return answer, 503
    drop_if_slow(request.environ, state.settings.stream_timeout)
    answer = Response(events(state, market_ticker), mimetype="text/event-stream")
    answer.call_on_close(state.slots.give_back)
    answer.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    return _fresh(answer)


def _depth() -> int | None:
    """The query's ``depth``, or None. Answers 400 to anything but a positive whole number."""
    text = request.args.get("depth")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        answer = jsonify(error=f"depth must be a positive whole number, not {text[:40]!r}")
        answer.status_code = 400
        abort(answer)
    return int(text)


def _no_market(state: ProcessState, market_ticker: str) -> ResponseReturnValue:
    """404; with the description of a market that was followed."""
    book = state.past(market_ticker)
    if book is None or book.market is None:
        return jsonify(error=f"no market {market_ticker} here"), 404
    about = state.description(book)
    why = f"is over: {about['phase']}" if has_ended(book.market) else "is not served anymore"
    return _fresh(jsonify(error=f"{market_ticker} {why}", **about)), 404


def _fresh(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
