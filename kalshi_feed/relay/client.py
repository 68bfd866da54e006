"""A connection to the Redis that a relay and its consumers share. Owns urls, passwords, TLS, and what Redis's
errors mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ..errors import RelayError

if TYPE_CHECKING:
    import redis

__all__ = ["RedisClient"]

T = TypeVar("T")


class RedisClient:
    """The node of Redis that has a relay's keys. For one thread at a time, except close(), which any thread
    may call, and which ends a call that is waiting.

    ``url``: redis://, rediss:// or unix://. ``password``: wins over the url's. ``ca_file``: certificates
    (PEM) to trust for rediss://. ``timeout``: seconds for any call that does not block by itself. Raises
    ConfigurationError for a url that cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout: float = 5.0,
    ) -> None:
        import redis

        self._client = redis.Redis.from_url(url, socket_timeout=timeout)
        self.redacted = url  # without user and password

    def run(self, call: Callable[[redis.Redis], T]) -> T:
        """Return what ``call`` returns. Connects if necessary. Raises RelayError, which is ``retryable`` if
        Redis cannot be reached, and not if it refuses the user or the command."""
        import redis

        try:
            return call(self._client)
        except redis.RedisError as error:
            raise RelayError(f"Redis at {self.redacted}: {error}") from error

    def close(self) -> None:
        """Close the connection; the next run() makes another. Any thread."""
        self._client.close()
