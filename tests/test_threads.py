"""Logging from the feed's threads, and what handlers may do to them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from kalshi_feed import threads
from kalshi_feed.threads import is_logging, log_safely
from tests.support import wait_until

LOGGER = logging.getLogger("tests.threads")


class Handler(logging.Handler):
    """A handler that keeps its records, and blocks on one message."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.go_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "stop":
            assert self.go_on.wait(10)
        if record.getMessage() == "raise":
            raise RuntimeError("no disk")
        self.seen.append(record.getMessage())


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    LOGGER.addHandler(handler)
    yield handler
    handler.go_on.set()
    LOGGER.removeHandler(handler)


def test_R22_a_handler_that_raises(handler: Handler) -> None:
    log_safely(LOGGER, logging.ERROR, "raise")
    log_safely(LOGGER, logging.ERROR, "%s and %d", "two", 2)
    assert handler.seen == ["two and 2"]
    assert not is_logging(threading.get_ident())


def test_R22_while_a_handler_blocks_one_thread_the_others_go_round_it(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_BLOCKED_AFTER", 0.0)
    stuck = threading.Thread(target=log_safely, args=(LOGGER, logging.ERROR, "stop"))
    stuck.start()
    wait_until(lambda: is_logging(stuck.ident))
    log_safely(LOGGER, logging.ERROR, "left out")
    handler.go_on.set()
    stuck.join(5)
    log_safely(LOGGER, logging.ERROR, "heard")
    assert handler.seen == ["stop", "heard"]


def test_R13_a_child_process_has_none_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_logging", {1: 0.0})
    monkeypatch.setattr(threads, "waiting_threads", {1})
    threads._forget_threads()
    assert not is_logging(1) and not threads.waiting_threads
