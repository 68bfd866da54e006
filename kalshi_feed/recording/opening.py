"""Which kind of recording some files are. Owns open_source(); must not import anything that runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigurationError
from .foreign import ForeignSource
from .lines import HeaderLine
from .reading import Source, is_native, paths_of

__all__ = ["open_source"]


def open_source(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], use_yes_price: bool | None = None
) -> Source | ForeignSource:
    """The recording in these files, a native one or a capture. Raises ConfigurationError."""
    found = paths_of(paths)
    headers = [header for path in found if (header := is_native(path)) is not None]
    if len(headers) == len(found):
        return Source(found, _in_order(headers, found))
    if headers:
        raise ConfigurationError("recordings and captures of other programs cannot be replayed as one: give them one at a time")
    return ForeignSource(found, bool(use_yes_price))


def _in_order(headers: list[HeaderLine], paths: list[Path]) -> list[HeaderLine]:
    if len({header.use_yes_price for header in headers}) > 1:
        raise ConfigurationError("these recordings were made with different use_yes_price: replay them one at a time")
    order = sorted(range(len(paths)), key=lambda i: (headers[i].created, headers[i].part))
    paths[:] = [paths[i] for i in order]
    return [headers[i] for i in order]
