"""Who writes: the lease that one relay holds. Owns its form, how it is taken, renewed and given back.

The lease only keeps two relays from writing at the same time for long. What keeps them from mixing is the
stream itself: its ids can only grow, and each writer's generation is greater than those before it.
"""

from __future__ import annotations

import os
import platform
import uuid
from typing import TYPE_CHECKING, Final

from .client import RedisClient

if TYPE_CHECKING:
    import redis

__all__ = ["LEASE_LASTS", "RENEW_EVERY", "Lease"]

LEASE_LASTS: Final = 3.0
"""Seconds after which a lease that is not renewed ends."""
RENEW_EVERY: Final = 1.0
"""Seconds between two renewals."""


class Lease:
    """One relay's side of the lease. For one thread at a time."""

    def __init__(self, client: RedisClient, key: str) -> None:
        self._client = client
        self._key = key
        self._mine = f"{uuid.uuid4().hex} pid {os.getpid()} on {platform.node()[:60]}"
        self.was_free = False  # whether no one had it at the last hold()
        self.holder = ""  # who holds it, if another relay does: "pid 1234 on a-host"

    def hold(self) -> bool:
        """Take the lease or renew it; return whether this relay has it now. Raises RelayError."""
        return self._client.run(self._hold)

    def release(self) -> None:
        """Give the lease back, if this relay has it. Raises RelayError."""
        self._client.run(self._release)

    def _hold(self, client: redis.Redis) -> bool:
        lasts = int(LEASE_LASTS * 1000)
        for _ in range(2):  # again, if it ended in between
            holder = client.get(self._key)
            if holder == self._mine.encode():
                if client.pexpire(self._key, lasts):
                    self.was_free = False
                    return True
            elif holder is None:
                if client.set(self._key, self._mine, nx=True, px=lasts):
                    self.was_free = True
                    return True
            else:
                assert isinstance(holder, bytes)
                self.holder = holder.decode("utf-8", "replace").partition(" ")[2][:100]
                return False
        return False

    def _release(self, client: redis.Redis) -> None:
        # Another relay may take it between the two commands, and lose it again by the second: it notices
        # within a second, and the ids keep the stream in order meanwhile.
        if client.get(self._key) == self._mine.encode():
            client.delete(self._key)
