"""Checks the invariants of kalshi_feed/README.md after every fault test, as far as they show from outside.

tests/conftest.py checks threads and descriptors after every test of the project, and pytest itself checks
exceptions in threads and destructors. This file checks that no secret is in a log record or in the locals of
a traceback, and that no test hangs.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from kalshi_feed import KalshiFeedError
from tests.faults.rows import ROWS, decided, proved
from tests.faults.secrets import Secrets, shown_with_locals
from tests.feed.conftest import exchange, feed, make_feed

__all__ = ["exchange", "feed", "make_feed"]  # fixtures

HANGS_AFTER = 60.0  # seconds; then the stack of every thread is written and the process ends


@pytest.fixture(scope="session")
def stacks() -> Iterator[TextIO]:
    """Where the stacks of a hang go: pytest-xdist swallows a worker's stderr."""
    path = Path(tempfile.gettempdir()) / f"kalshi-feed-hang-{os.getpid()}.txt"
    with path.open("w") as file:
        yield file
    path.unlink()


@pytest.fixture(autouse=True)
def hangs_are_shown(stacks: TextIO, request: pytest.FixtureRequest) -> Iterator[None]:
    """A deadlock must not hang the run without saying where."""
    stacks.seek(0)
    stacks.truncate()
    stacks.write(f"{request.node.nodeid}\n")
    stacks.flush()
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=stacks)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def secrets() -> Secrets:
    """Strings that must not show up anywhere. A test adds the ones that it makes itself."""
    return Secrets()


class Keeper(logging.Handler):
    """Keeps the feed's log records of a test, of every level."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _errors() -> list[KalshiFeedError]:
    return [item for item in gc.get_objects() if isinstance(item, KalshiFeedError)]


@pytest.fixture(autouse=True)
def nothing_is_told(secrets: Secrets, request: pytest.FixtureRequest) -> Iterator[None]:
    """No log record (of any level) and no error of ours that is still alive shows a secret.

    Errors that earlier tests left alive do not count: some hold a hundred thousand messages.
    """
    before = weakref.WeakSet(_errors())
    if "exchange" in request.fixturenames:
        secrets.add_exchange(request.getfixturevalue("exchange"))
    logger, keeper = logging.getLogger("kalshi_feed"), Keeper()
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    logger.removeHandler(keeper)
    for record in keeper.records:
        secrets.check(logging.Formatter().format(record), f"the log record {record.name}:{record.lineno}")
    for error in _errors():
        if error in before:
            continue
        for text in shown_with_locals(error):
            secrets.check(text, f"a {type(error).__name__}, or the locals of its traceback")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of rows. A row whose test ran in another process counts because the test exists."""
    failed = {
        row for report in terminalreporter.getreports("failed") for row in ROWS if f"_{row}_" in report.nodeid
    }
    otherwise = {row: heading for row, heading in decided().items() if row not in proved()}
    groups = {
        "tested": [row for row in ROWS if row in proved() and row not in failed],
        "failed": [row for row in ROWS if row in failed],
        **{
            heading.lower(): [row for row in ROWS if otherwise.get(row) == heading]
            for heading in dict.fromkeys(decided().values())
        },
        "missing": [row for row in ROWS if row not in proved() and row not in otherwise],
    }
    terminalreporter.section(f"the fault matrix: {len(ROWS)} rows")
    for name, rows in groups.items():
        terminalreporter.line(
            f"{name}: {len(rows)}" + (f"  {' '.join(rows)}" if name != "tested" and rows else "")
        )
