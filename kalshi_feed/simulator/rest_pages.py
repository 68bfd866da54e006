"""Pages of REST answers, their cursors, and the parameters that requests carry.

Owns what a cursor contains: the place in a list, not the list. Entries are in descending order of their
serial numbers, so what is new comes before the first page and moves no later one.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .settings import ExchangeSettings

DEFAULT_LIMIT = 100
FIRST = 1 << 62  # above every serial number

_Item = TypeVar("_Item")


class BadParameter(Exception):
    """A parameter that the exchange refuses with 400."""


class Parameters:
    """The parameters of one request. Owned by the thread that answers it."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def __contains__(self, name: str) -> bool:
        return bool(self._query.get(name))

    def text(self, name: str) -> str:
        """A string; empty if it is not given."""
        return self._query.get(name, "")

    def choice(self, name: str, *choices: str) -> str:
        """One of the choices, or empty. Raises BadParameter."""
        value = self.text(name)
        if value and value not in choices:
            raise BadParameter(f"{name} must be one of {', '.join(choices)}")
        return value

    def number(self, name: str, default: int | None = None) -> int | None:
        """An int. Raises BadParameter."""
        value = self.text(name)
        if not value:
            return default
        if not (value.removeprefix("-").isascii() and value.removeprefix("-").isdigit() and len(value) < 18):
            raise BadParameter(f"{name} must be an integer")
        return int(value)

    def limit(self, lowest: int, highest: int = 1000) -> int:
        """How many entries a page may have. Raises BadParameter."""
        limit = self.number("limit", DEFAULT_LIMIT)
        if limit is None or not lowest <= limit <= highest:
            raise BadParameter(f"limit must be from {lowest} to {highest}")
        return limit or DEFAULT_LIMIT

    def names(self, name: str, most: int) -> frozenset[str]:
        """A list with commas. Raises BadParameter."""
        found = frozenset(filter(None, self.text(name).split(",")))
        if len(found) > most:
            raise BadParameter(f"{name} may have at most {most} entries")
        return found

    def flag(self, name: str) -> bool | None:
        """A bool, None if it is not given. Raises BadParameter."""
        value = self.choice(name, "true", "false")
        return value == "true" if value else None

    def between(self, low: str = "min_ts", high: str = "max_ts") -> Callable[[int], bool]:
        """The check whether a time in microseconds is in the interval, which includes both of its seconds.

        Raises BadParameter.
        """
        first, last = self.number(low), self.number(high)
        return lambda at_us: (
            (first is None or at_us // 1_000_000 >= first) and (last is None or at_us // 1_000_000 <= last)
        )


class Pages:
    """Cuts lists into pages. Not thread-safe: the exchange's lock guards it."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings
        self._epoch = 0  # cursors of an earlier one have expired

    def expire(self) -> None:
        """Make every cursor handed out so far invalid."""
        self._epoch += 1

    def cut(
        self,
        name: str,
        parameters: Parameters,
        limit: int,
        items: Iterable[_Item],
        wanted: Callable[[_Item], bool],
        serial: Callable[[_Item], int],
        show: Callable[[_Item], Any],
    ) -> dict[str, Any]:
        """The page that the parameters' cursor asks for, under ``name``, and the cursor of the next one.

        ``items`` in descending order, from which the ``wanted`` ones are chosen. Raises BadParameter.
        """
        before = self._read(name, parameters.text("cursor"))
        page: list[_Item] = []
        more = False
        for item in items:
            if serial(item) >= before or not wanted(item):
                continue
            if len(page) == limit:
                more = True
                break
            page.append(item)
        cursor = ""
        if more:
            overlap = self._settings.quirks.rest_pages_overlap
            cursor = self._cursor(name, serial(page[-1 - overlap] if overlap < len(page) else page[-1]))
        return {name: [show(item) for item in page], "cursor": cursor}

    def _cursor(self, name: str, last: int) -> str:
        # never the same twice, so that no client reads anything into it
        parts = (name, self._epoch, int(time.monotonic() * 1000), last, secrets.token_hex(4))
        return base64.urlsafe_b64encode(":".join(map(str, parts)).encode()).decode()

    def _read(self, name: str, cursor: str) -> int:
        if not cursor:
            return FIRST
        try:
            whose, epoch, issued, last, _ = base64.urlsafe_b64decode(cursor).decode().split(":")
            age = time.monotonic() - int(issued) / 1000
            serial = int(last)
        except (ValueError, binascii.Error):
            raise BadParameter("the cursor is invalid") from None
        lifetime = self._settings.rest_cursor_seconds
        if whose != name or epoch != str(self._epoch) or (lifetime is not None and age > lifetime):
            raise BadParameter("the cursor is invalid or has expired")
        return serial
