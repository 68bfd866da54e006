"""Owns Companion, the protocol of what runs beside a feed: it starts and ends with the feed's own threads."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Companion"]


class Companion(Protocol):
    """Something with threads of its own that lives as long as the feed runs. Thread-safe."""

    def start(self) -> None:
        """The feed has started. Idempotent. Raises RuntimeError if no thread can be started."""

    def stop(self) -> None:
        """The feed ends: end as well, without waiting. Idempotent; works in a signal handler."""

    def join(self, deadline: float) -> None:
        """Wait for the end until ``deadline`` (time.monotonic())."""
