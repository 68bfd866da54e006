"""Files of lines, compressed or not: a kill costs at most the last second, and they are read as far as they
go.

Owns the names of files, opening and (de)compression, and patience with files that others have open. Not
thread-safe.
"""

from __future__ import annotations

import errno
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError
from ..extras import how_to_install
from ..threads import sleep

__all__ = [
    "CutOff",
    "FileFailed",
    "RecordingFile",
    "check_name",
    "further_parts",
    "next_name",
    "patiently",
    "plain_stem",
    "read_chunks",
]

_NAME: Final = re.compile(r"(?P<stem>.+?)(?P<suffix>\.(?:ndjson|jsonl)(?:\.gz|\.zst)?)")
_GZIP: Final = 31  # zlib's wbits for a gzip header
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_READ_BYTES: Final = 65_536
_PATIENCE: Final = 0.5  # seconds
_PATIENCE_STEP: Final = 0.02
_PACKED_BYTES: Final = 512  # decompressed at a time: at most this much before a damaged byte is lost


def check_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a new recording. Raises ConfigurationError if its name does not say the format."""
    found = Path(path)
    if not _NAME.fullmatch(found.name):
        raise ConfigurationError(
            f"the name of the recording {os.fspath(path)!r} must end in .ndjson, .ndjson.gz or .ndjson.zst"
        )
    if found.name.endswith(".zst"):
        _zstandard()
    return found


def plain_stem(path: Path) -> str:
    """Return the file's name without the suffixes that say its format."""
    parts = _NAME.fullmatch(path.name)
    return parts["stem"] if parts is not None else path.name.partition(".")[0]


def next_name(first: Path, number: int) -> Path:
    """Return the name of a later part: NAME.0002.ndjson.gz, or the next number that is free."""
    parts = _NAME.fullmatch(first.name)
    assert parts is not None, "checked by check_name"
    while True:
        path = first.with_name(f"{parts['stem']}.{number:04d}{parts['suffix']}")
        if not path.exists():
            return path
        number += 1


def further_parts(first: Path) -> list[Path]:
    """Return the files that next_name() may have named after ``first``, in order."""
    parts = _NAME.fullmatch(first.name)
    if parts is None:
        return []
    further = re.compile(re.escape(parts["stem"]) + r"\.(\d{4,9})" + re.escape(parts["suffix"]))
    found = [
        (int(match[1]), path)
        for path in first.parent.iterdir()
        if (match := further.fullmatch(path.name)) is not None
    ]
    return [path for number, path in sorted(found) if path.is_file()]


def patiently(step: Callable[[], object]) -> None:
    """Call ``step``, which renames or removes a file, until it no longer raises PermissionError, for 0.5 s.

    On Windows neither works while another program has the file open, which a virus scanner or an indexer
    often does for a moment. Raises the last PermissionError, and whatever else ``step`` raises.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            step()
            return
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
        sleep(_PATIENCE_STEP)


class FileFailed(Exception):
    """A file could not be written; ``__cause__`` is the OSError."""


class RecordingFile:
    """A new file of lines. Not thread-safe.

    The constructor raises FileExistsError or another OSError, the methods raise FileFailed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0  # on disk, so compressed ones
        self._pack = _packer(path.name)
        self._file = open(path, "xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Compress and write. Until flush(), some of it may stay in the compressor."""
        self._put(self._pack.compress(data) if self._pack else data)

    def flush(self) -> None:
        """Make everything written so far readable, even if this process is killed now."""
        if self._pack:
            self._put(self._pack.sync())

    def close(self) -> None:
        """End the file properly."""
        try:
            if self._pack:
                self._put(self._pack.flush())
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor. Idempotent; never raises."""
        try:
            self._file.close()
        except OSError:
            pass  # some file systems report a failed write only now

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                count = self._file.write(view)
                if not count:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                self.bytes += count
                view = view[count:]
        except OSError as error:
            raise FileFailed from error


class _Gzip:
    def __init__(self) -> None:
        self._pack = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self.compress = self._pack.compress
        self.flush = self._pack.flush

    def sync(self) -> bytes:
        return self._pack.flush(zlib.Z_SYNC_FLUSH)


class _Zstd:
    def __init__(self) -> None:
        zstandard = _zstandard()
        self._pack = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        self._block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self.compress: Callable[[bytes], bytes] = self._pack.compress
        self.flush: Callable[[], bytes] = self._pack.flush

    def sync(self) -> bytes:
        data: bytes = self._pack.flush(self._block)
        return data


def _packer(name: str) -> _Gzip | _Zstd | None:
    return _Gzip() if name.endswith(".gz") else _Zstd() if name.endswith(".zst") else None


def _zstandard() -> Any:
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"recordings in .zst need the package zstandard; {how_to_install('zstd')}"
        ) from error
    return zstandard


class CutOff(Exception):
    """The file ends or is damaged in the middle; everything before that was read."""


def read_chunks(path: Path, progress: Callable[[int], object]) -> Iterator[bytes]:
    """Yield the text of a file, decompressed as its content requires, whatever its name says.

    ``progress`` is called with the number of bytes read from disk so far. Raises ConfigurationError if the
    file cannot be opened, and CutOff where it cannot be read any further.
    """
    try:
        file = open(path, "rb")
    except OSError as error:
        raise ConfigurationError(
            f"the recording {os.fspath(path)!r} cannot be read: {error.strerror or error}"
        ) from error
    with file:
        try:
            head = file.read(4)
            kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
            file.seek(0)
            chunks = _plain(file) if kind is None else _unpacked(file, kind)
            for chunk in chunks:
                progress(file.tell())
                yield chunk
        except OSError as error:
            raise CutOff(f"it cannot be read any further: {error.strerror or error}") from error


def _plain(file: Any) -> Iterator[bytes]:
    while data := file.read(_READ_BYTES):
        yield data


def _pieces(file: Any) -> Iterator[bytes]:
    for data in _plain(file):
        for start in range(0, len(data), _PACKED_BYTES):
            yield data[start : start + _PACKED_BYTES]


def _unpacked(file: Any, kind: str) -> Iterator[bytes]:
    if kind == "gzip":
        make: Callable[[], Any] = lambda: zlib.decompressobj(_GZIP)  # noqa: E731
        broken: type[Exception] = zlib.error
    else:
        zstandard = _zstandard()
        make, broken = zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
    unpack, is_within = make(), False
    for data in _pieces(file):
        while data:
            is_within = True
            try:
                text = unpack.decompress(data)
            except broken as error:
                raise CutOff(f"its compressed data are damaged: {error}") from error
            if text:
                yield text
            data = b""
            if unpack.eof:
                data, unpack, is_within = unpack.unused_data, make(), False
    if is_within:
        raise CutOff("it ends in the middle, because its writer was killed or is still at it")
