"""What holds for every run and every test.

A run says what it needs, how long it takes and what it leaves out. A test leaves no thread of the package and no
descriptor behind; pytest itself checks that no thread dies of an exception and no destructor raises: it warns,
and warnings are errors.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.support import open_descriptors, wait_until

# Before pytest reads its own options: without pytest-xdist it would only say that it does not know "-n".
_NEEDED = (
    "celery",
    "click",
    "coverage",
    "django",
    "flask",
    "hypothesis",
    "orjson",
    "prometheus_client",
    "psycopg",
)
_NEEDED += ("pyarrow", "rich", "trustme", "websocket", "websockets", "xdist", "zstandard")
if _missing := [name for name in _NEEDED if find_spec(name) is None]:
    pytest.exit(
        f'the tests need the extra "test", and {", ".join(_missing)} cannot be imported. In the checkout: '
        f"{sys.executable} -m pip install -e '.[test]'",
        returncode=4,
    )


def pytest_collection_finish() -> None:
    """The modules and the tests themselves stay: collections, and those who search for objects, pass over them."""
    gc.collect()
    gc.freeze()


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
