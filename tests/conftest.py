"""Checked for every test: it leaves no thread of the package and no descriptor behind.

pytest itself checks that no thread dies of an exception and no destructor raises: it warns, and warnings are
errors.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import open_descriptors, wait_until


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Runs before the test's own fixtures and checks after them. What wider fixtures opened does not
    count."""
    threads = set(threading.enumerate())
    descriptors = Counter(open_descriptors())
    yield

    def left_threads() -> list[str]:
        return [t.name for t in threading.enumerate() if t not in threads and t.name.startswith("kalshi-")]

    def left_descriptors() -> list[str]:
        now = Counter(open_descriptors())
        # by number, because a wider fixture may have replaced one socket with another
        return list((now - descriptors).elements()) if now.total() > descriptors.total() else []

    if left_descriptors():
        gc.collect()
    try:
        wait_until(lambda: not left_threads() and not left_descriptors(), timeout=2.0)
    except AssertionError:
        pytest.fail(f"the test left behind: threads {left_threads()}, descriptors {left_descriptors()}")
