"""The links of one connection, by channel and by sid.

Owns Links: which sid is whose, and which have ended. Must not import sockets, threads or clocks. Not thread-safe; owned
by the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .channels import CHANNEL_OF_TYPE
from .commands import Command
from .server_subscription import Link

__all__ = ["Links"]


class Links:
    """At most one link per channel, and at most one per sid. Not thread-safe; see the module."""

    def __init__(self) -> None:
        self._by_name: dict[str, Link] = {}
        self.by_sid: dict[int, Link] = {}
        self.retired: set[int] = set()  # sids of this connection that have ended; late frames of theirs mean nothing

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._by_name.values()))

    def __getitem__(self, name: str) -> Link:
        """The channel's link, made if there was none."""
        link = self._by_name.get(name)
        if link is None:
            link = self._by_name[name] = Link(name)
        return link

    def get(self, name: str) -> Link | None:
        """The channel's link, None if nothing was ever asked of it on this connection."""
        return self._by_name.get(name)

    def resume(self, links: Iterable[Link], retired: Iterable[int]) -> None:
        """These are there, and those have been, in the middle of a connection."""
        self.retired.update(retired)
        for link in links:
            self._by_name[link.name] = link
            if link.sid is not None:
                self.by_sid[link.sid] = link

    def clear(self) -> None:
        """The connection is gone."""
        for known in (self._by_name, self.by_sid, self.retired):
            known.clear()

    def of_sid(self, sid: int | None) -> Link | None:
        """The link with this sid."""
        return self.by_sid.get(sid) if sid is not None else None

    def of_frame(self, sid: int | None, type_: str) -> Link | None:
        """The link a data frame belongs to, or None.

        A frame may come before the `subscribed` that tells its sid (or never does): then it tells it.
        """
        link = self.of_sid(sid)
        if link is not None or sid in self.retired:
            return link
        link = self._by_name.get(CHANNEL_OF_TYPE.get(type_, type_))
        if link is None or not (link.is_open or link.pending):
            return None
        if sid is not None:
            if link.sid is not None:
                return None
            self.adopt(link, sid)
        return link

    def of_command(self, command: Command) -> Link | None:
        """The open subscription that the command was sent to, None if there was none or it has ended."""
        link = self._by_name.get(command.channel)
        return link if link is not None and link.is_open and link.sid == command.sid else None

    def adopt(self, link: Link, sid: int) -> None:
        """The exchange calls the link ``sid``, whatever bore that number before."""
        if link.sid is not None:
            del self.by_sid[link.sid]
            link.next_seq = 1
        other = self.by_sid.get(sid)
        if other is not None:
            other.sid = None
            other.next_seq = 1
            if other.is_open:
                other.lose_count()
        link.sid = sid
        link.retry_at = 0.0
        self.by_sid[sid] = link
        self.retired.discard(sid)

    def retire(self, link: Link) -> None:
        """The exchange has ended the subscription."""
        if link.sid is not None:
            del self.by_sid[link.sid]
            self.retired.add(link.sid)
        link.reset()
