"""Recording: a feed's inputs, written to a file by a thread of its own.

Owns the writer thread and the files. The feed never waits for the disk: its threads append to a queue
(queue.py), and the writer empties it a few times a second.

If the queue reaches its bound, or a file cannot be written, inputs are lost. They are counted and reported to
on_error, and nothing more is accepted until a new checkpoint (checkpoint.py) makes a fresh start: in the same
file after a full queue, in a new part after a failed file. So a recording is complete from each checkpoint up
to the next loss, and a replay never has to guess what was missing.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from ..engine.engine import Engine, log
from ..errors import ConfigurationError
from ..events import FeedState
from ..threads import ServiceThread
from ..version import __version__
from ..waiting import Signal
from .checkpoint import encode_checkpoint
from .files import FileFailed, RecordingFile, check_name, next_name, patiently
from .lines import FORMAT, HeaderLine, Line, encode_line
from .queue import CheckpointItem, ClockItem, LineItem, RecordingQueue, TurnItem, encode_item

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Recording"]

_LOOK: Final = 0.1  # seconds between two looks at the queue
_FLUSH: Final = 0.5  # seconds; with the look and the write, a kill costs less than the last second
_WRITE_BYTES: Final = 256 * 1024
_FIRST_RETRY: Final = 1.0  # seconds until the first retry after a file could not be written
_LAST_RETRY: Final = 30.0


class Recording:
    """A recording in progress; also a context manager. Thread-safe.

    ``path`` is the first file, ``paths`` are all of them. A recording ends with close(), or with the feed. If
    the feed was started but never connected, the recording holds nothing and its file is removed.
    """

    def __init__(
        self,
        engine: Engine,
        path: str | PathLike[str],
        *,
        rotate_bytes: int | None = None,
        rotate_seconds: float | None = None,
    ) -> None:
        """Check the arguments; start() makes the file. Raises ConfigurationError."""
        first = check_name(path)
        _check_bound("rotate_bytes", rotate_bytes)
        _check_bound("rotate_seconds", rotate_seconds)
        self._engine = engine
        self._first = first
        self._rotate_bytes = rotate_bytes
        self._rotate_seconds = rotate_seconds
        self._id = uuid.uuid4().hex
        self._wake = Signal(for_real_thread=True)
        self._intake = RecordingQueue(engine, self._wake.set, self.join)
        # From start() on, everything below belongs to the writer thread; properties read it without a lock.
        self._never_connected = False  # the feed was started, and no connection has been recorded since
        self._offset_ns = 0  # the wall clock less the monotonic one, as of the last line written
        self._part = 0  # number of the part being written, 0 before the first checkpoint
        self._part_began = 0.0  # monotonic seconds, for rotate_seconds
        self._flushed_at = 0.0  # monotonic seconds of the last flush
        self._rotating = False  # a checkpoint for the next part is queued and not written yet
        # after a failure: when to try the next file (monotonic seconds), and the delay after that
        self._retry_at, self._retry_delay = 0.0, _FIRST_RETRY
        self._unflushed = 0  # messages written since the last flush; lost if the file fails now
        self._sink: RecordingFile | None = None  # the open file; None after a failure and at the end
        # messages and bytes before compression, of all files; bytes on disk of the files that are closed
        self._messages = self._text_bytes = self._done_bytes = 0
        self._paths: list[Path] = [first]
        self._error: Exception | None = None  # why the last file failed; None while files can be written
        self._thread = ServiceThread(self._run, "kalshi-feed-recorder", is_real=True)

    def start(self) -> Recording:
        """Create the file and begin to record.

        Raises ConfigurationError if the file exists or cannot be created, or if another recording of the feed
        is open.
        """
        engine = self._engine
        try:
            self._sink = self._open(self._first)
            with engine.store.lock:
                if engine.tap is not None and not engine.tap.ended:
                    raise ConfigurationError(
                        "this feed is already being recorded: close() that recording first"
                    )
                self._never_connected = engine.state in (FeedState.CONNECTING, FeedState.RECONNECTING)
                engine.record(self._intake)
                self._intake.checkpoint_locked(new_part=True)
            self._thread.start()
        except BaseException:  # including Ctrl-C, and anything a signal handler raises
            if not self._thread.is_alive():
                engine.stop_recording(self._intake)
                self._remove_empty_file()
            raise
        return self

    def _remove_empty_file(self) -> None:
        """Remove the new, empty file: it would block the next attempt under the same name."""
        if self._sink is not None:
            self._drop_sink()
            with suppress(OSError):
                patiently(self._first.unlink)

    # -- for users -------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The first file."""
        return self._first

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files so far, in order."""
        return tuple(self._paths)

    @property
    def messages(self) -> int:
        """How many of the exchange's messages were written; the last second's may not be on disk yet."""
        return self._messages

    @property
    def missed(self) -> int:
        """How many messages are missing from the recording because the disk was too slow or full."""
        return self._intake.missed

    @property
    def file_bytes(self) -> int:
        """The size of all files together, in bytes."""
        sink = self._sink
        return self._done_bytes + (sink.bytes if sink is not None else 0)

    @property
    def text_bytes(self) -> int:
        """How many bytes were written, before compression."""
        return self._text_bytes

    @property
    def error(self) -> Exception | None:
        """Why nothing can be written at the moment, or None. The recording keeps trying."""
        return self._error

    @property
    def is_open(self) -> bool:
        """Whether the recording is still running."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Once the recording was told to end, wait at most ``timeout`` seconds until all of it is written."""
        if ServiceThread.current() is not self._thread:
            self._thread.join(timeout)
            if self._thread.is_alive():
                log(logging.WARNING, "the recording %s was not written within %.1f s", self._first, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """End the recording, and wait at most ``timeout`` seconds until all of it is written.

        The feed goes on. Idempotent.
        """
        self._engine.stop_recording(self._intake)
        self.join(timeout)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Recording {str(self._first)!r} {self._messages} messages{'' if self.is_open else ', ended'}>"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "a Recording holds a thread and an open file: it cannot be pickled or copied; take its path and "
            "replay() that"
        )

    # -- the writer thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                ended = self._intake.ended
                self._drain()
                if ended:
                    break
                self._look_after(time.monotonic())
                self._wake.wait(_LOOK)
            self._finish()
        except Exception as error:  # a bug in this package must not go unnoticed
            self._drop_sink()
            self._error = error
            self._engine.stop_recording(self._intake)
            self._report(f"a defect in kalshi_feed ended the recording {self._first}: {error!r}", error)

    def _drain(self) -> None:
        """Write everything that is queued."""
        size = messages = 0
        texts: list[bytes] = []
        while (item := self._intake.pop()) is not None:
            if isinstance(item, CheckpointItem):
                self._write(texts, messages)
                texts, size, messages = [], 0, 0
                self._begin(item)
                continue
            if isinstance(item, ClockItem):
                self._offset_ns = item.clock_offset_ns
            ns = self._ns(item.now)
            if isinstance(item, LineItem):
                self._note_connection(item.line)
            if isinstance(item, TurnItem):
                messages += len(item.payloads)
            text = encode_item(ns, item)
            texts.append(text)
            size += len(text)
            if size >= _WRITE_BYTES:
                self._write(texts, messages)
                texts, size, messages = [], 0, 0
        self._write(texts, messages)

    def _note_connection(self, line: Line) -> None:
        if line.connected is not None:
            self._never_connected = False
        elif line.wish is not None and line.wish.do == "reopen_books":  # the feed's start() asks for that
            self._never_connected = True

    def _ns(self, now: float) -> int:
        return round(now * 1e9) + self._offset_ns

    def _write(self, texts: list[bytes], messages: int = 0) -> None:
        if not texts:
            return
        if self._sink is None:  # the file failed while this was already queued
            with self._engine.store.lock:
                self._intake.lose_locked(messages)
            return
        text = b"".join(texts)
        self._unflushed += messages
        self._messages += messages
        self._text_bytes += len(text)
        try:
            self._sink.write(text)
        except FileFailed as failure:
            self._fail(failure)
        else:
            self._flush_if_due(time.monotonic())

    def _begin(self, fresh: CheckpointItem) -> None:
        """Write a checkpoint, at the beginning of a part or after a loss within one."""
        if fresh.new_part:
            self._rotating = False
            self._offset_ns = fresh.clock_offset_ns
            if not self._next_part(fresh.now):
                return
            self._write([encode_line(Line(kalshi_feed_recording=self._header()))])
        elif fresh.clock_offset_ns != self._offset_ns:
            self._offset_ns = fresh.clock_offset_ns
            self._write([encode_line(Line(clock_offset_ns=self._offset_ns), self._ns(fresh.now))])
        for text in encode_checkpoint(fresh.copy, self._ns(fresh.now)):
            self._write([text])
        if fresh.new_part:
            self._flush(fresh.now)
            if self._sink is not None and self._error is not None:
                self._error, self._retry_delay = None, _FIRST_RETRY
                self._report(
                    f"the recording continues in {self._sink.path}; {self.missed} messages were lost so far"
                )
        elif self._sink is not None and fresh.copy.session.missed:
            self._report(
                f"the recording {self._sink.path} could not be written fast enough: {self.missed} messages "
                "were lost so far"
            )

    def _next_part(self, now: float) -> bool:
        """Open the next file. The first one is already open: start() did that."""
        self._part_began = now
        if self._part == 0:
            self._part = 1
            return True
        if self._sink is not None:
            try:
                self._sink.close()
            except FileFailed as failure:
                self._fail(failure)
                return False
            self._done_bytes += self._sink.bytes
            self._sink = None
        path = next_name(self._first, len(self._paths) + 1)
        try:
            self._sink = RecordingFile(path)
        except OSError as error:
            self._fail(error)
            return False
        self._part += 1
        self._paths.append(path)
        return True

    def _look_after(self, now: float) -> None:
        """Do what is due by the clock: a flush, the next part, or a retry."""
        self._flush_if_due(now)
        if self._sink is None:
            if now >= self._retry_at:
                self._fresh_start(new_part=True)
        elif not self._intake.accepts and not self._intake.skips:
            self._fresh_start(new_part=False)
        elif self._is_full(now) and not self._rotating:
            self._rotating = True
            self._fresh_start(new_part=True)

    def _fresh_start(self, new_part: bool) -> None:
        with self._engine.store.lock:
            if not self._intake.ended:
                self._intake.checkpoint_locked(new_part)

    def _is_full(self, now: float) -> bool:
        assert self._sink is not None
        return (self._rotate_bytes is not None and self._sink.bytes >= self._rotate_bytes) or (
            self._rotate_seconds is not None and now - self._part_began >= self._rotate_seconds
        )

    def _flush_if_due(self, now: float) -> None:
        if now - self._flushed_at >= _FLUSH:
            self._flush(now)

    def _flush(self, now: float) -> None:
        self._flushed_at = now
        if self._sink is not None:
            try:
                self._sink.flush()
                self._unflushed = 0
            except FileFailed as failure:
                self._fail(failure)

    def _finish(self) -> None:
        if self._sink is not None:
            try:
                self._sink.close()
            except FileFailed as failure:
                self._fail(failure)
            else:
                self._done_bytes += self._sink.bytes
                self._sink = None
                self._remove_if_nothing_came()

    def _remove_if_nothing_came(self) -> None:
        """Remove the files of a feed that never connected, for example because its key was refused.

        They hold nothing, and would block the next attempt under the same name.
        """
        if not self._never_connected:
            return
        for path in self._paths:
            with suppress(OSError):
                patiently(path.unlink)
        self._paths.clear()

    def _fail(self, failure: Exception) -> None:
        """Leave the file as it is, since no more can be written to it, and try another one later."""
        cause = failure.__cause__ or failure
        path = self._sink.path if self._sink is not None else self._first
        with self._engine.store.lock:
            self._intake.lose_locked(self._unflushed)
        self._messages -= self._unflushed
        self._unflushed = 0
        self._drop_sink()
        self._retry_at = time.monotonic() + self._retry_delay
        self._retry_delay = min(self._retry_delay * 2, _LAST_RETRY)
        is_new, self._error = self._error is None, cause if isinstance(cause, Exception) else failure
        if is_new:
            what = getattr(cause, "strerror", None) or cause
            self._report(
                f"the recording {path} cannot be written: {what}; retrying, messages are lost until it "
                "succeeds",
                cause,
            )

    def _drop_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        sink.abandon()
        if sink.bytes:
            self._done_bytes += sink.bytes
        else:
            is_later = sink.path in self._paths[1:]
            if is_later:
                self._part -= 1  # a part number that no file has would look like a missing file
            try:
                patiently(partial(sink.path.unlink, missing_ok=True))
            except OSError:
                return  # an empty file stays, and stays in the list; the next part gets another name
            if is_later:
                self._paths.remove(sink.path)

    def _report(self, text: str, error: BaseException | None = None) -> None:
        log(logging.ERROR if error is not None else logging.WARNING, "%s", text)
        self._engine.report_fault("recording", text, error)

    def _open(self, path: Path) -> RecordingFile:
        try:
            return RecordingFile(path)
        except FileExistsError:
            raise ConfigurationError(
                f"the recording {str(path)!r} already exists and will not be overwritten: choose another "
                "name or move it"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"the recording {str(path)!r} cannot be created: {error.strerror or error}"
            ) from error

    def _header(self) -> HeaderLine:
        return HeaderLine(
            format=FORMAT,
            version=__version__,
            url=self._engine.peer,
            channels=sorted(self._engine.wanted.channels),
            use_yes_price=self._engine.use_yes_price,
            created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            recording=self._id,
            part=self._part,
            clock_offset_ns=self._offset_ns,
        )


def _check_bound(name: str, value: Any) -> None:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0
    ):
        raise ConfigurationError(f"{name} must be a positive number, or None, not {value!r}")
