"""Flask-SocketIO: each book goes to the browsers in its market's room, from threads, gevent or eventlet.

.venv/bin/python samples/socketio_app.py --simulate [--gevent | --eventlet]        then open http://127.0.0.1:5000/
KALSHI_TICKERS=TICKER .venv/bin/gunicorn --chdir samples -k gevent -w 1 'socketio_app:create_app()'

A browser joins a room with `socket.emit("join", ticker)` and gets an event `book`, BookView.to_dict(), when
the market's book changes. One process serves all browsers: several would need sticky sessions, see
Flask-SocketIO's documentation.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # patch before anything else is imported, as gunicorn's worker class gevent does
    if "--gevent" in sys.argv:
        from gevent import monkey

        monkey.patch_all()
    elif "--eventlet" in sys.argv:
        import eventlet

        eventlet.monkey_patch()

import os
import signal
from typing import Any

from _common import end_as_ctrl_c, into_environment, parser, simulated_exchange
from flask import Flask, render_template_string
from flask_socketio import SocketIO, emit, join_room

from kalshi_feed import BookView, KalshiFeed, KalshiFeedError
from kalshi_feed.contrib.flask import FeedExtension

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Books</title>
<style>body { font: 16px system-ui } td, th { padding: .2em 1em; text-align: right }</style>
<p id="state">connecting …</p>
<table><thead><tr><th>market<th>book<th>yes bid<th>yes ask</thead><tbody id="books"></tbody></table>
<script src="https://cdn.socket.io/4.8.1/socket.io.min.js" crossorigin="anonymous"
  integrity="sha384-mkQ3/7FUtcGyoppY6bz/PORYoGqOl7/aSUMn2ymDOJcapfS6PHqxhRTMh1RR0Q6+"></script>
<script>
const state = document.getElementById("state"), rows = {};
if (!window.io) state.textContent = "no Socket.IO: the browser could not load it from cdn.socket.io";
const socket = io();
socket.on("connect", () => {  // again after each loss of the connection
  state.textContent = "connected";
  for (const ticker of {{ tickers|tojson }}) socket.emit("join", ticker);
});
socket.on("disconnect", () => { state.textContent = "the server is gone"; });
socket.on("book", book => {
  rows[book.market_ticker] ??= document.getElementById("books").insertRow();
  const ask = book.no.length ? (1 - book.no[0][0]).toFixed(4) : "–";
  const cells = [book.market_ticker, book.status, book.yes.length ? book.yes[0][0] : "–", ask];
  rows[book.market_ticker].replaceChildren(...cells.map(text => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  }));
});
</script>
"""

socketio = SocketIO()
feeds = FeedExtension()


def create_app() -> Flask:
    """Return the application. Key, exchange and markets come from the environment, or from ``app.config``."""
    app = Flask(__name__)
    feeds.init_app(app)
    app.add_url_rule("/", "page", page)
    socketio.init_app(app, async_mode=async_mode())
    return app


def async_mode() -> str:
    """What this process is patched for. Flask-SocketIO would take any library that is installed, patched or
    not, and events emitted by the feed's callbacks would then reach the browsers seconds late."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return "threading"


@feeds.on_start
def prepare(feed: KalshiFeed) -> None:
    """The feed starts at the first request; browsers that are slow get fewer books, never old ones."""

    @feed.on_book
    def changed(book: BookView) -> None:
        socketio.emit("book", book.to_dict(), to=book.market_ticker)


@socketio.on("join")
def join(ticker: str) -> dict[str, str]:
    """Let a browser into a market's room, and send it the book as it is now."""
    books = feeds.feed.books
    if ticker not in books:  # only what is subscribed: a visitor must not subscribe to more
        return {"error": f"no market {ticker} here"}
    join_room(ticker)
    emit("book", books[ticker].to_dict())
    return {"joined": ticker}


def page() -> str:
    return render_template_string(PAGE, tickers=list(feeds.feed.books))


def main() -> None:
    options = parser("Send live order books to browsers.")
    options.add_argument("--port", type=int, default=5000)
    for library in ("gevent", "eventlet"):
        options.add_argument(f"--{library}", action="store_true", help=f"patch this process with {library}")
    chosen = options.parse_args()
    end_as_ctrl_c()  # otherwise a simulated exchange's key would be left behind
    into_environment(chosen)
    if chosen.simulate:
        with simulated_exchange():
            serve(chosen.port, chosen.seconds)
    else:
        serve(chosen.port, chosen.seconds)


def serve(port: int, seconds: float | None) -> None:
    try:
        app = create_app()
    except KalshiFeedError as error:  # no key, a key that can't be read …
        sys.exit(f"{type(error).__name__}: {error}")
    mode = async_mode()
    # threads are served by Flask's own server, which Flask-SocketIO runs outside of a terminal only if asked
    unsafe: dict[str, Any] = {"allow_unsafe_werkzeug": True} if mode == "threading" else {}
    if seconds:
        socketio.start_background_task(interrupt, seconds)
    print(f"http://127.0.0.1:{port}/ ({mode})", flush=True)
    try:
        socketio.run(app, port=port, **unsafe)
    except KeyboardInterrupt:
        pass
    finally:
        feeds.close(app)


def interrupt(seconds: float) -> None:
    """Nothing but Ctrl-C ends these servers."""
    socketio.sleep(seconds)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
