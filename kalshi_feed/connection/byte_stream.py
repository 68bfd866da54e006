"""One connected, non-blocking socket as a stream of bytes, plain or TLS.

TLS runs over memory buffers (``ssl.MemoryBIO``), not over an ``SSLSocket``. One ``recv`` of the socket then
brings many TLS records; an SSLSocket needs two system calls and a Python call for each (measured: 3.2 µs
instead of 5.1 for a record of one frame). And what waits to be written is ciphertext, so a stalled write need
not be repeated with the same buffer.

Owns the socket.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

__all__ = ["CHUNK_BYTES", "ByteStream", "EndOfStream", "TlsByteStream"]

# one turn's reading: large enough to be cheap, small enough to serve timers in between
CHUNK_BYTES: Final = 131_072
# after a read of this size there is more to come (the TCP window may be smaller than a chunk)
BEHIND_BYTES: Final = CHUNK_BYTES // 4
RECORD_BYTES: Final = 16_384  # the most a TLS record holds


class EndOfStream(Exception):
    """The peer closed the stream; ``clean`` is False if TLS was cut off without a closing alert."""

    def __init__(self, clean: bool) -> None:
        super().__init__(clean)
        self.clean = clean

    def __str__(self) -> str:
        return "the peer closed the connection" if self.clean else "the TLS stream was cut off"


class ByteStream:
    """A plain socket; ``receive`` and ``flush`` never block. Not thread-safe; owned by the dialing thread.

    ``sock`` may be handed to a TlsByteStream, which then replaces this object. Errors of the socket (OSError,
    ssl.SSLError) are raised as they are; after one of them only ``close`` makes sense.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_behind = False  # the last read was so large that more is waiting
        self._unsent = bytearray()  # queued; over TLS it is ciphertext

    def fileno(self) -> int:
        """The socket's descriptor; -1 after ``close``."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether bytes are waiting for the socket to take them."""
        return bool(self._unsent)

    @property
    def unsent_bytes(self) -> int:
        """How many bytes are waiting for the socket to take them."""
        return len(self._unsent)

    @property
    def has_failed(self) -> bool:
        """Whether the next ``receive`` raises, whatever the socket says."""
        return False

    def receive(self) -> bytes:
        """Return what has arrived, at most CHUNK_BYTES, or b"". Raises EndOfStream if the peer has closed."""
        try:
            data = self.sock.recv(CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            self.is_behind = False
            return b""
        self.is_behind = len(data) >= BEHIND_BYTES
        if not data:
            raise EndOfStream(clean=True)
        return data

    def write(self, data: bytes) -> None:
        """Queue ``data`` and send as much as the socket takes now."""
        self._unsent += data
        self.flush()

    def flush(self) -> int:
        """Send as much as the socket takes; return the number of bytes it took."""
        taken = 0
        try:
            while self._unsent:
                count = self.sock.send(self._unsent)
                del self._unsent[:count]
                taken += count
        except (BlockingIOError, InterruptedError):
            pass
        return taken

    def close(self) -> None:
        """Close the descriptor at once, without a goodbye (so it is safe in a forked child). Idempotent."""
        self._unsent.clear()
        self.sock.close()


class TlsByteStream(ByteStream):
    """TLS over a connected socket. Before anything else, call ``handshake`` until it returns True."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> None:
        super().__init__(sock)
        # ciphertext: from the socket, and for it
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._plaintext = b""  # what OpenSSL did not take yet (a renegotiation is under way)
        self._failure: Exception | None = None  # raised once the bytes before it were handed out

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent or self._outgoing.pending)

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent) + self._outgoing.pending + len(self._plaintext)

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    def handshake(self) -> bool:
        """Do one step; True when the handshake is complete. Raises EndOfStream, OSError, ssl.SSLError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
            except ssl.SSLError:
                self._last_words()
                raise
            else:
                self.flush()
                return True
            data = super().receive()
            if not data:
                return False
            self._incoming.write(data)

    def agreed(self) -> str:
        """What the handshake agreed on, in words: the TLS version, and who issued the certificate."""
        certificate: dict[str, Any] = self._tls.getpeercert() or {}
        issuer = {name: value for part in certificate.get("issuer", ()) for name, value in part}
        by = issuer.get("organizationName") or issuer.get("commonName")
        until = f", valid until {certificate['notAfter']}" if "notAfter" in certificate else ""
        return f"{self._tls.version()}" + (
            f", certificate issued by {by}{until}" if by else ", certificate not verified"
        )

    def _last_words(self) -> None:
        """Send the alert that tells the server what is wrong, if the socket takes it."""
        try:
            self.flush()
        except OSError:
            pass

    def receive(self) -> bytes:
        """Return the plaintext of one read of the socket, decrypted record by record.

        Bytes that came before an end or an error are returned first; ``_failure`` keeps it for the next call.
        So the last messages of a connection that was reset are not lost. A socket's own end or error is more
        informative than OpenSSL's complaint about it, and wins.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._incoming.write(super().receive())
        except (EndOfStream, OSError) as error:
            self._failure = error
            self._incoming.write_eof()
        chunks = []
        incoming, tls = self._incoming, self._tls
        try:
            while incoming.pending or tls.pending() or self._failure is not None:
                data = tls.read(RECORD_BYTES)
                if not data:
                    self._failure = EndOfStream(clean=True)
                    break
                chunks.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:  # the socket's own end or error is more informative
            if self._failure is None or isinstance(self._failure, EndOfStream):
                self._failure = EndOfStream(clean=False)
        except ssl.SSLError as error:
            self._failure = error
        if self._plaintext:  # OpenSSL may take now what it refused before
            self._encrypt()
        if not chunks and self._failure is not None:
            raise self._failure
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]

    def write(self, data: bytes) -> None:
        self._plaintext += data
        self._encrypt()
        self.flush()

    def _encrypt(self) -> None:
        """Pass plaintext to OpenSSL; what it does not take waits for the next ``receive`` or ``write``."""
        try:
            while self._plaintext:
                count = self._tls.write(self._plaintext)
                self._plaintext = self._plaintext[count:]
        except ssl.SSLWantReadError:
            pass

    def flush(self) -> int:
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        return super().flush()
