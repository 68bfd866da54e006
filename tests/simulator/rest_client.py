"""A REST client for the tests of the simulator, as a user writes one by hand: requests and a signature."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from kalshi_feed.simulator import Exchange

from .peer import DEADLINE, sign

PREFIX = "/trade-api/v2"


class RestClient:
    """One ``requests.Session``; a context manager. Used by one thread at a time."""

    def __init__(self, exchange: Exchange, folder: Path) -> None:
        self._exchange = exchange
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(exchange.write_credentials(folder)[1])

    def __enter__(self) -> RestClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.session.close()

    def signature(
        self, path: str, *, method: str = "GET", now_ms: int | None = None, pem: bytes | None = None
    ) -> dict[str, str]:
        """The three headers for a path below the prefix."""
        timestamp = str(int(time.time() * 1000) if now_ms is None else now_ms)
        pem = self._exchange.private_key_pem if pem is None else pem
        return {
            "KALSHI-ACCESS-KEY": self._exchange.api_key_id,
            "KALSHI-ACCESS-TIMESTAMP": timestamp,
            "KALSHI-ACCESS-SIGNATURE": sign(pem, f"{timestamp}{method}{PREFIX}{path}"),
        }

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> requests.Response:
        """Send a GET, without a signature."""
        return self.session.get(
            self._exchange.rest_url + path, params=query, headers=headers, timeout=DEADLINE
        )

    def json(self, path: str, **query: Any) -> Any:
        """The JSON of a signed GET that is answered with 200."""
        answer = self.get(path, self.signature(path), **query)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def error(self, path: str, **query: Any) -> tuple[int, str]:
        """The status and message of a signed GET that is refused."""
        answer = self.get(path, self.signature(path), **query)
        return answer.status_code, answer.json()["error"]["message"]

    def pages(self, path: str, name: str, **query: Any) -> list[Any]:
        """Everything on all pages."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.json(path, cursor=cursor, **query)
            found += page[name]
            cursor = page["cursor"]
            if not cursor:
                return found
            assert page[name], "an empty page has a cursor"
