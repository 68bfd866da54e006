"""Looks for secrets where none may be: in logs, in error messages, in the locals of tracebacks."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterator

from kalshi_feed.simulator import Exchange

__all__ = ["Secrets", "shown_with_locals"]

_RUN = re.compile(r"[A-Za-z0-9+/=_-]{40,}")


class Secrets:
    """Strings that must not show up: keys, signatures, passwords."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._exchanges: list[Exchange] = []

    def add(self, *texts: str) -> None:
        """Add more secrets."""
        self._texts.update(texts)

    def add_pem(self, pem: bytes | str) -> None:
        """Add a key: none of its lines may show up."""
        text = pem.decode() if isinstance(pem, bytes) else pem
        self.add(*(line for line in text.splitlines() if len(line) >= 16 and not line.startswith("-----")))

    def add_exchange(self, exchange: Exchange) -> None:
        """Add the exchange's key, its whole key id, and every signature that it received."""
        self.add_pem(exchange.private_key_pem)
        self.add(exchange.api_key_id)
        self._exchanges.append(exchange)

    def found_in(self, text: str) -> str | None:
        """Return the secret that is in ``text``, or None."""
        for secret in self._texts:
            if secret in text:
                return secret
        sent = {
            handshake.signature_sha256 for exchange in self._exchanges for handshake in exchange.handshakes
        } - {""}
        if sent:
            for run in _RUN.findall(text):
                if hashlib.sha256(run.encode()).hexdigest() in sent:
                    return str(run)
        return None

    def check(self, text: str, where: str) -> None:
        """Fail the test if a secret is in ``text``."""
        assert self.found_in(text) is None, f"a secret is in {where}: {text[:2000]}"


def shown_with_locals(error: BaseException) -> Iterator[str]:
    """Return what a reporter that captures locals (Sentry, Flask's debugger) shows of an error and its
    causes.

    Only the frames of the package and its libraries: the variables of a test may hold anything.
    """
    seen: set[int] = set()
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        links += [link.__cause__, link.__context__]
        yield f"{type(link).__name__}: {link} {link.args!r} {vars(link)!r}"
        for frame, line in traceback.walk_tb(link.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                shown = {name: repr(value) for name, value in frame.f_locals.items()}
                yield f"{frame.f_code.co_filename}:{line} {shown!r}"
