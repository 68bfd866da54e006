"""django_view.py: under gunicorn, and with Django's own server and its reloader."""

from __future__ import annotations

import signal

import pytest

from tests.cli.support import Access
from tests.contrib.support import get
from tests.support import wait_until

from .support import SAMPLES, free_port, gunicorn, started, with_access

pytestmark = pytest.mark.slow

pytest.importorskip("django", reason="django is not installed: its sample is not tried")


@pytest.mark.parametrize("how", ["gunicorn", "preload", "runserver"])
def test_each_process_that_answers_has_its_feed(access: Access, how: str) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    if how == "runserver":
        command: tuple[str, ...] = (str(SAMPLES / "django_view.py"), "runserver", address)
    else:
        pytest.importorskip("gunicorn", reason="gunicorn is not installed: its workers are not tried")
        preload = ("--preload",) if how == "preload" else ()
        command = (
            *gunicorn(),
            "-w",
            "2",
            "--threads",
            "4",
            *preload,
            "-b",
            address,
            "django_view:application",
        )
    with started(*command, **with_access(access), KALSHI_TICKERS="KX-A,KX-B"):

        def asked() -> int:
            try:
                return get(port, "/books/KX-A")[0]
            except OSError:
                return 0

        wait_until(asked, 25, "the server")
        wait_until(
            lambda: asked() == 200 and access.exchange.connections == (1 if how == "runserver" else 2),
            25,
            "all workers",
        )
        status, book = get(port, "/books/KX-B")
        assert (
            (status, book["status"], book["market_ticker"]) == (200, "LIVE", "KX-B")
            and book["yes"]
            and book["no"]
        )
        assert get(port, "/books/OTHER")[0] == 404
        assert len(access.exchange.handshakes) == access.exchange.connections
        access.exchange.reject_next(1000, 503)
        access.exchange.reset()
        wait_until(lambda: asked() == 503, 10, "the cut to be seen")
        access.exchange.behave()
        wait_until(lambda: asked() == 200, 25, "the book again")


@pytest.mark.simulates
def test_simulate_serves_and_ends() -> None:
    port = free_port()
    with started(str(SAMPLES / "django_view.py"), "--simulate", f"127.0.0.1:{port}") as process:

        def answer() -> int:
            try:
                return get(port, "/books/KXSIM-001")[0]
            except OSError:
                return 0

        wait_until(lambda: answer() == 200, 25, "the book")
        assert get(port, "/books/OTHER")[0] == 404
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert "Traceback" not in err and "closed with code" not in err, err
