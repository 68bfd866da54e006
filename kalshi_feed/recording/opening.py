"""Which recording some files are, and which of its files there are. Owns open_source(); must not import
anything that runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigurationError
from .files import further_parts
from .foreign import ForeignSource
from .lines import HeaderLine
from .reading import NothingRecorded, Source, Trouble, is_native, paths_of

__all__ = ["beginning_of", "open_source"]


def open_source(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], use_yes_price: bool | None = None
) -> Source | ForeignSource:
    """The recording in these files, a native one or a capture. Raises ConfigurationError.

    One path that is the first file of a recording in several parts means all of them, as far as they are in
    the same folder under the names they were given. A list means what it lists, and a later part by itself
    that part. Parts that hold nothing, because their recorder was killed when it had just made them, are left
    out and reported.
    """
    found = paths_of(paths)
    headers, troubles = _headers_of(found)
    if len(headers) == 1 and isinstance(paths, (str, os.PathLike)):
        _add_series(headers, troubles)
    native = {path: header for path, header in headers.items() if header is not None}
    if not native:
        return ForeignSource(list(headers), bool(use_yes_price))
    if len(native) < len(headers):
        raise ConfigurationError(
            "recordings and captures of other programs cannot be replayed as one: give them one at a time"
        )
    if len({header.use_yes_price for header in native.values()}) > 1:
        raise ConfigurationError(
            "these recordings were made with different use_yes_price: replay them one at a time"
        )
    in_order = sorted(native, key=lambda path: (native[path].created, native[path].part))
    return Source(in_order, [native[path] for path in in_order], troubles)


def beginning_of(source: Source | ForeignSource) -> int | None:
    """The time of the first line in Unix ns; None if there is none."""
    return next((record.ns for _, record in source.records() if not isinstance(record, Trouble)), None)


def _headers_of(paths: list[Path]) -> tuple[dict[Path, HeaderLine | None], list[str]]:
    """The header of each file, None for a capture's, and what is to be said of the others."""
    headers: dict[Path, HeaderLine | None] = {}
    troubles: list[str] = []
    nothing: NothingRecorded | None = None
    for path in paths:
        try:
            headers[path] = is_native(path)
        except NothingRecorded as error:
            nothing = nothing or error
            troubles.append(f"{error}: it is left out")
    if not headers and nothing is not None:
        raise nothing
    return headers, troubles


def _add_series(headers: dict[Path, HeaderLine | None], troubles: list[str]) -> None:
    """Add the further parts of a recording whose first part is there."""
    ((first, header),) = headers.items()
    if header is None or not header.recording or header.part != 1:
        return
    for path in further_parts(first):
        try:
            further = is_native(path)
        except ConfigurationError as error:
            troubles.append(f"{error}: it is left out")
            continue
        if further is not None and further.recording == header.recording:
            headers[path] = further
