"""Programs that run on greenlets, in processes of their own; the exchange stays in the tests' process."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen

import pytest

from kalshi_feed.simulator import Exchange
from tests.cli.support import started

__all__ = ["EVENTLET", "EVERYWHERE", "GEVENT", "finish", "running"]

_GEVENT = "from gevent import monkey; monkey.patch_all()"
_LATE = f"""
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ssl was imported before: the very thing to be tried
    {_GEVENT}
"""
_EVENTLET = """
import warnings
warnings.simplefilter("ignore")  # eventlet calls itself deprecated
import eventlet; eventlet.monkey_patch()
"""
# what runs before the imports of the package, and what after them
_MODES = {"first": (_GEVENT, ""), "late": ("", _LATE), "eventlet": (_EVENTLET, ""), "none": ("", "")}


def _mode(name: str, library: str) -> object:
    missing = pytest.mark.skipif(
        find_spec(library) is None, reason=f"{library} (extra hosts) is not installed: not tried on it"
    )
    return pytest.param(name, marks=missing, id=name)


EVENTLET = [_mode("eventlet", "eventlet")]
GEVENT = [_mode("first", "gevent"), _mode("late", "gevent")]
EVERYWHERE = GEVENT + EVENTLET

_PROGRAM = """
import faulthandler, logging, os, signal, ssl, sys, threading, time, warnings
import kalshi_feed.contrib.process
from kalshi_feed import *
faulthandler.dump_traceback_later(45, exit=True)  # if it hangs
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
url, key_id, key, ca = sys.argv[1:]
credentials, context = Credentials.from_file(key_id, key), ssl.create_default_context(cafile=ca)
make = lambda cls=KalshiFeed, **options: cls(credentials, url=url, ssl_context=context, **options)
def say(*said):
    print(*said, flush=True)
"""


@contextmanager
def running(exchange: Exchange, folder: Path, mode: str, body: str, before: str = "") -> Iterator[Popen[str]]:
    """The program, which has ``make()`` for a feed and say(); ``before`` runs before a late patch."""
    key, ca = exchange.write_credentials(folder / "access")
    first, late = _MODES[mode]
    code = "\n".join((first, _PROGRAM, textwrap.dedent(before), late, textwrap.dedent(body)))
    with started("-c", code, exchange.url, exchange.api_key_id, str(key), str(ca)) as process:
        yield process


def finish(process: Popen[str], timeout: float = 20.0) -> list[str]:
    """The lines it prints until it ends; fails the test if it ends badly or writes anything to stderr."""
    out, err = process.communicate(timeout=timeout)
    assert (process.returncode, err) == (0, ""), (process.returncode, out, err)
    return out.splitlines()
