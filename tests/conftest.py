"""What holds for every run and every test.

A run says what it needs, how long it takes and what it leaves out. A test leaves no thread of the package and
no descriptor behind; pytest itself checks that no thread dies of an exception and no destructor raises: it
warns, and warnings are errors.
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

QUICK = (
    "The quick tests: about 5 minutes on two cores. "
    "The slow ones are left out: pytest -m slow runs them, pytest -m '' runs all."
)
SLOW = "The slow tests: about 6 minutes on two cores."
EVERYTHING = "A selection of the tests; all of them take about 11 minutes on two cores."

# Before pytest reads its own options: without pytest-xdist it would only say that it does not know "-n".
_NEEDED = """
    celery click coverage django flask hypothesis orjson prometheus_client psycopg pyarrow redis requests rich
    trustme websocket websockets xdist zstandard
""".split()
if _missing := [name for name in _NEEDED if find_spec(name) is None]:
    pytest.exit(
        f'the tests need the extra "test", and {", ".join(_missing)} cannot be imported. In the checkout: '
        f"{sys.executable} -m pip install -e '.[test]'",
        returncode=4,
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say how long the run takes and what it leaves out, before the first dot."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    is_all = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if reporter is not None and is_all and not hasattr(config, "workerinput"):
        which = {"not slow": QUICK, "slow": SLOW}.get(config.option.markexpr, EVERYTHING)
        reporter.write_line(which)


def pytest_collection_finish() -> None:
    """Modules and tests live as long as the run: the garbage collector need not look at them again."""
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
