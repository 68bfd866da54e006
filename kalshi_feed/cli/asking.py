"""Requests over REST that a command makes beside its feed.

Owns which Rest is asked, and RestQuestion, one request on a thread of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..connection.environment import REST_VARIABLE
from ..errors import ConfigurationError, KalshiFeedError
from .access import context_for, reads_relay, refuse_beside_relay, rest_url_for
from .errors import Misused
from .subscribing import Subject

if TYPE_CHECKING:
    import ssl

    from ..rest import Rest

__all__ = ["RestQuestion", "rest_beside", "rest_for", "rest_of"]

_T = TypeVar("_T")
_PATIENCE: Final = 10.0  # seconds to repeat a request that failed


def rest_for(*, env: str | None, url: str | None, rest_url: str | None, ca_file: str | None) -> Rest:
    """Make the Rest that the options and the environment ask for, without a key.

    Raises ConfigurationError, and Misused if the extra is not installed.
    """
    try:
        address = rest_url_for(env, url, rest_url)
    except ConfigurationError as error:
        if error.argument != REST_VARIABLE or os.environ.get(REST_VARIABLE):
            raise
        raise ConfigurationError(f"{error.problem}; or give --rest-url URL", REST_VARIABLE) from error
    return rest_of(address, context_for(ca_file))


def rest_of(url: str, ssl_context: ssl.SSLContext | None) -> Rest:
    """Make a Rest for this url, without a key. Raises ConfigurationError, and Misused if the extra is not
    installed."""
    try:
        from ..rest import Rest
    except ImportError as error:
        raise Misused(str(error)) from error
    return Rest(url=url, ssl_context=ssl_context, retry_for=_PATIENCE)


def rest_beside(
    subject: Subject,
    *,
    env: str | None,
    url: str | None,
    rest_url: str | None,
    ca_file: str | None,
) -> Rest | None:
    """rest_for() for a feed; None if it is not installed, or its url is not known, and nothing is followed:
    then a command can do without. None for a relay's consumer, too: its relay asks."""
    if reads_relay():
        refuse_beside_relay(rest_url=rest_url)
        return None
    try:
        return rest_for(env=env, url=url, rest_url=rest_url, ca_file=ca_file)
    except (ConfigurationError, Misused):
        if subject.follows or rest_url is not None:
            raise
        return None


class RestQuestion(Generic[_T]):
    """One question to REST, asked from now on, on a thread that does not keep the program from exiting.

    Thread-safe. ``answer`` and ``error`` are both None until it ``is_done``. Closing the Rest ends it.
    """

    def __init__(self, ask: Callable[[], _T]) -> None:
        self.answer: _T | None = None
        self.error: KalshiFeedError | None = None
        self._ask = ask
        self._thread = threading.Thread(target=self._run, name="kalshi-feed-question", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether the answer or the error is there."""
        return not self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the thread, at most ``timeout`` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except KalshiFeedError as error:
            self.error = error
