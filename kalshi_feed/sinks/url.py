"""A sink by its address, as ``kalshi-feed record --to`` takes it. Owns open_sink()."""

from __future__ import annotations

from ..connection.redaction import without_locals
from ..errors import ConfigurationError
from .parquet import ParquetSink
from .postgres import PostgresSink
from .rows import Sink
from .sqlite import SQLiteSink

__all__ = ["open_sink"]


@without_locals  # the url may hold a password
def open_sink(url: str) -> Sink:
    """Open the sink at an address.

    That is ``postgresql://user@host/database``, ``sqlite:///file`` (``sqlite:////absolute/file``) or
    ``parquet:folder``. Raises ConfigurationError for any other address and if a package is missing, SinkError
    if the store cannot be opened.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresSink(url)
    kind, _, place = url.partition(":")
    if kind == "sqlite":
        place = place.removeprefix("///")
        if place and not place.startswith("//"):
            return SQLiteSink(place)
    elif kind == "parquet" and place:
        return ParquetSink(place)
    raise ConfigurationError(
        "the address of a store must be postgresql://user@host/database, sqlite:///file "
        "(sqlite:////absolute/file) or parquet:folder"
    )
