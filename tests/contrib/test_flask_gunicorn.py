"""samples/gunicorn.conf.py with flask_app.py: streams from real workers, which do not delay the shutdown."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cli.support import Access, started
from tests.samples.support import SAMPLES, free_port, gunicorn, with_access
from tests.support import wait_until

from .support import get, stream

pytestmark = pytest.mark.slow

pytest.importorskip("gunicorn", reason="gunicorn is not installed: its workers are not tested")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_streams_of_workers_and_their_end(
    access: Access, end: signal.Signals, preload: tuple[str, ...]
) -> None:
    port = free_port()
    command = (*gunicorn(), "-c", str(SAMPLES / "gunicorn.conf.py"), "-b", f"127.0.0.1:{port}")
    environ = with_access(access) | {"KALSHI_TICKERS": "KX-A"}
    with started(*command, *preload, "flask_app:create_app()", **environ) as process:

        def both_have_answered() -> bool:
            """A worker that is still starting would miss the signal."""
            try:
                return get(port, "/books/KX-A")[0] == 200 and access.exchange.connections == 2
            except OSError:
                return False

        wait_until(both_have_answered, 25, "the workers")
        with stream(port) as found, stream(port) as other:
            for events in (found, other):
                assert next(event for event in events if event.kind == "book").data["status"] == "LIVE"
            assert access.exchange.connections == len(access.exchange.handshakes) == 2, (
                "a feed in each worker"
            )
            asked = time.monotonic()
            process.send_signal(end)
            for events in (found, other):
                assert list(events) is not None  # the stream ends
        _, err = process.communicate(timeout=25)
        assert process.returncode == 0, err
        assert time.monotonic() - asked < 20, "not killed after graceful_timeout (30 s)"
    assert "Traceback" not in err and "SIGKILL" not in err, err
    access.exchange.wait_for_connections(0)
