"""A Rest in a forked child: it makes connections of its own, and does not disturb the parent's."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

from kalshi_feed.rest import Rest
from kalshi_feed.rest.budget import _lock
from kalshi_feed.simulator import Exchange
from tests.support import end_if_it_hangs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def test_a_child_may_use_it(rest: Rest, exchange: Exchange) -> None:
    rest.exchange_status()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        """Another thread has the budget's lock at the moment of the fork."""
        with _lock:
            held.set()
            done.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: fork with threads
        pid = os.fork()
    if not pid:
        status = 1
        try:
            end_if_it_hangs()
            status = 0 if rest.exchange_status().exchange_active else 2
        finally:
            os._exit(status)
    done.set()
    holder.join()
    assert os.waitpid(pid, 0)[1] == 0
    rest.exchange_status()
    first, child, again = (request.connection for request in exchange.rest_log)
    assert first == again != child
