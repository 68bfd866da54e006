"""Which recording a path means: its kind, its parts and their order. Owns open_source()."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigurationError
from .files import further_parts
from .foreign import ForeignSource
from .lines import HeaderLine
from .reading import NothingRecorded, Source, Trouble, paths_of, read_header

__all__ = ["beginning_of", "open_source"]


def open_source(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], use_yes_price: bool | None = None
) -> Source | ForeignSource:
    """Open the recording in these files, our own format or another program's capture.

    A single path to the first file of a rotated recording means all of its parts, provided they are in the
    same folder under their original names. A list means exactly what it lists, and a later part by itself
    means that part. An empty part, left by a recorder that was killed just after creating it, is skipped and
    reported. Raises ConfigurationError.
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
    """Return the time of the first line in Unix ns, or None if there is none."""
    return next((record.ns for _, record in source.records() if not isinstance(record, Trouble)), None)


def _headers_of(paths: list[Path]) -> tuple[dict[Path, HeaderLine | None], list[str]]:
    """Return each usable file's header (None for a capture), and a report for each file that is empty."""
    headers: dict[Path, HeaderLine | None] = {}
    troubles: list[str] = []
    nothing: NothingRecorded | None = None
    for path in paths:
        try:
            headers[path] = read_header(path)
        except NothingRecorded as error:
            nothing = nothing or error
            troubles.append(f"{error}; skipping it")
    if not headers and nothing is not None:
        raise nothing
    return headers, troubles


def _add_series(headers: dict[Path, HeaderLine | None], troubles: list[str]) -> None:
    """If the only file is the first part of a recording, add the later parts."""
    ((first, header),) = headers.items()
    if header is None or not header.recording or header.part != 1:
        return
    for path in further_parts(first):
        try:
            further = read_header(path)
        except ConfigurationError as error:
            troubles.append(f"{error}; skipping it")
            continue
        if further is not None and further.recording == header.recording:
            headers[path] = further
