"""flask_app.py: no feed before the first request, then one per process, with forks and reloaders."""

from __future__ import annotations

import http.client
import json
import os
from typing import Any

import pytest

from tests.cli.support import Access
from tests.support import wait_until

from .support import SAMPLES, answers, free_port, installed, needs_tickers_and_a_key, started, with_access

pytestmark = pytest.mark.slow

flask = pytest.importorskip("flask")

FORK = """
import json, os, sys, threading
sys.path.insert(0, sys.argv[1])
import flask_app
app = flask_app.create_app()
assert threading.active_count() == 1, threading.enumerate()

def ask(path):
    with app.test_client() as client:
        answer = client.get(path)
        return answer.status_code, answer.get_json()

def own():
    answers = [ask("/books/KX-A"), ask("/health"), ask("/books/KX-B"), ask("/books/OTHER")]
    return [[status, body.get("status")] for status, body in answers]

first = [] if sys.argv[2] == "before" else own()
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(writing, json.dumps(own()).encode())
    os._exit(0)
os.waitpid(pid, 0)
print(json.dumps([first, json.loads(os.read(reading, 10000)), own()]))
flask_app.feeds.close(app)
"""

RIGHT = [[200, "LIVE"], [200, "ok"], [200, "LIVE"], [404, None]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_side_of_a_fork_has_its_own_feed(access: Access, when: str) -> None:
    """``before``: as gunicorn --preload does; ``after``: the parent had already been asked."""
    environ = with_access(access) | {"KALSHI_TICKERS": "KX-A,KX-B"}
    with started("-c", FORK, str(SAMPLES), when, **environ) as process:
        out, err = process.communicate(timeout=25)
    assert process.returncode == 0, err
    first, child, parent = json.loads(out)
    assert child == parent == RIGHT
    assert first == ([] if when == "before" else RIGHT)


def test_it_does_not_start_without_tickers_or_a_key(access: Access) -> None:
    needs_tickers_and_a_key("flask_app.py", access)


@pytest.mark.simulates
def test_simulate_serves_and_ends() -> None:
    port = free_port()
    with started(
        str(SAMPLES / "flask_app.py"), "--simulate", "--seconds", "3", "--port", str(port)
    ) as process:
        status, book = get(port, "/books/KXSIM-001")
        assert (status, book["status"], book["market_ticker"]) == (200, "LIVE", "KXSIM-001")
        assert book["yes"] and book["no"] and book["spread"]
        assert get(port, "/books/NOPE")[0] == 404
        assert [one["market_ticker"] for one in get(port, "/books")[1]["books"]] == [
            "KXSIM-001",
            "KXSIM-002",
            "KXSIM-003",
        ]
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.simulates
@pytest.mark.skipif(not installed("requests"), reason="needs the extra rest")
def test_a_series_without_tickers() -> None:
    port = free_port()
    options = ("--simulate", "--series", "KXMINE", "--port", str(port))
    with started(str(SAMPLES / "flask_app.py"), *options):

        def served() -> set[tuple[str, str]]:
            """Series and phases."""
            books = get(port, "/books")[1]["books"]
            return {(one["market_ticker"].partition("-")[0], one["phase"]) for one in books}

        wait_until(lambda: ("KXMINE", "open") in served(), 15, "an open market of the series")
        assert {series for series, _ in served()} == {"KXMINE"}


def test_while_the_book_is_not_live(access: Access) -> None:
    """503 with the reason, then 200 again; a market unknown to the exchange becomes a 404."""
    port = free_port()
    access.exchange.reject_next(1, 503)
    environ = with_access(access) | {"KALSHI_TICKERS": "KX-A,GONE"}
    with started(str(SAMPLES / "flask_app.py"), "--port", str(port), **environ):
        status, answer = get(port, "/health")
        assert (status, answer["status"]) == (503, "down")
        wait_until(lambda: get(port, "/books/KX-A")[0] == 200, 15, "the book")
        wait_until(
            lambda: get(port, "/books/GONE")[0] == 404, 5, "404 for a market the exchange does not know"
        )
        access.exchange.reject_next(50, 503)
        access.exchange.reset()
        wait_until(lambda: get(port, "/health")[0] == 503, 5, "the feed to notice")
        status, answer = get(port, "/books/KX-A")
        assert status == 503 and "not connected to wss://127.0.0.1" in answer["error"]


def test_the_reloader_makes_one_feed(access: Access) -> None:
    port = free_port()
    environ = with_access(access) | {"KALSHI_TICKERS": "KX-A"}
    with started(str(SAMPLES / "flask_app.py"), "--debug", "--port", str(port), **environ):
        wait_until(lambda: answers(port), 15, "the server")
        assert access.exchange.handshakes == []  # there was no request yet
        assert get(port, "/books/KX-A")[0] == get(port, "/books/KX-A")[0] == 200
        assert len(access.exchange.handshakes) == access.exchange.connections == 1


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
@pytest.mark.parametrize("workers", ["sync", "gevent"])
def test_gunicorn_workers_have_one_each(access: Access, workers: str, preload: tuple[str, ...]) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed: its workers are not tried")
    if workers == "gevent" and not installed("gevent"):
        pytest.skip("gevent is not installed (extra hosts): gunicorn's worker class for it is not tried")
    port = free_port()
    environ = with_access(access) | {"KALSHI_TICKERS": "KX-A"}
    command = ("-m", "gunicorn", "--chdir", str(SAMPLES), "-w", "2", "-b", f"127.0.0.1:{port}", *preload)
    command += ("-k", workers)
    with started(*command, "flask_app:create_app()", **environ):
        wait_until(lambda: answers(port), 15, "the server")
        assert access.exchange.handshakes == []

        def both_have_answered() -> bool:
            assert get(port, "/books/KX-A")[0] == 200
            return access.exchange.connections == 2

        wait_until(both_have_answered, 15, "a feed in each worker")
        for _ in range(20):
            assert get(port, "/books/KX-A")[0] == 200
        assert len(access.exchange.handshakes) == access.exchange.connections == 2


def get(port: int, path: str) -> tuple[int, Any]:
    """Ask the server, once it is there."""
    wait_until(lambda: answers(port), 15, "the server")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
