"""What went wrong, as the package's own errors: foreign exceptions and HTTP answers are translated here only.

Owns the messages that tell users what to check. The functions return errors and never raise; the errors they
return carry no traceback and no secret.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Final
from urllib.parse import urlsplit

import websocket

from ..errors import (
    AuthenticationError,
    ConnectionFailed,
    HandshakeRejected,
    KalshiFeedError,
    ProxyError,
    TLSError,
)
from .byte_stream import EndOfStream
from .http import Answer, NotHttp
from .proxy import Proxy
from .redaction import detach, redact
from .tcp import NoneConnected
from .url import Endpoint

__all__ = [
    "connection_failed",
    "local_time",
    "lost_reason",
    "peer_words",
    "proxy_failed",
    "proxy_refused",
    "rejected",
    "unauthorized",
]

REASON_LENGTH: Final = 200
MOST_ADDRESSES: Final = 3  # how many to list of those with the same error
SKEW_SECONDS: Final = 5.0  # a smaller difference is the network, and Date having whole seconds only
TOO_MANY_FILES: Final = (errno.EMFILE, errno.ENFILE)
WRONG_PROTOCOL: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
OLD_TLS: Final = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")
UNKNOWN_ISSUER: Final = (18, 19, 20, 21)  # OpenSSL's verify codes
HOW_TO_TRUST: Final = (
    "Behind a company proxy that inspects TLS, pass "
    "ssl_context=ssl.create_default_context(cafile='the company CA.pem')"
)


def connection_failed(
    error: Exception, doing: str, endpoint: Endpoint, proxy: Proxy | None, secrets: Iterable[str] = ()
) -> KalshiFeedError:
    """The error for a dial that failed with ``error`` in the step ``doing`` ("connecting", "CONNECT" …)."""
    failure: KalshiFeedError
    if isinstance(error, KalshiFeedError):
        detach(error)
        return error
    if proxy is not None and isinstance(error, ssl.SSLError) and error.reason in WRONG_PROTOCOL:
        failure = ProxyError(
            f"the answer that came through the proxy {proxy} is not TLS ({error.reason}): the proxy answers "
            f"in place of {endpoint.authority}, perhaps with a login page, or the url's port is wrong. "
            f"Check the proxy, or {proxy.how_to_bypass}"
        )
    elif isinstance(error, ssl.SSLError) and _is_lasting(error):
        failure = _tls_error(error, endpoint)
    else:
        message = f"{endpoint.redacted}: {doing} failed: {redact(_describe(error), secrets)}"
        through = f" (through the proxy {proxy})" if proxy else ""
        failure = ConnectionFailed(message + through)
    failure.__cause__ = detach(error, secrets)
    return failure


def _is_lasting(error: ssl.SSLError) -> bool:
    """Whether it is about the certificate or the TLS version; any other failure may be temporary."""
    return isinstance(error, ssl.SSLCertVerificationError) or error.reason in (*WRONG_PROTOCOL, *OLD_TLS)


def _describe(error: Exception) -> str:
    if isinstance(error, NoneConnected):
        return _describe_each(error)
    if isinstance(error, EndOfStream):
        return "the connection was closed without an answer"
    if isinstance(error, NotHttp):
        return str(error)
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    if isinstance(error, socket.gaierror):
        return (
            f"the host name cannot be resolved ({error.strerror or error}); "
            "check the url and the network's DNS"
        )
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused: nothing is listening there"
    if isinstance(error, ConnectionResetError):
        return "the connection was reset by the server or something on the way"
    if isinstance(error, ssl.SSLError):
        return f"TLS error: {error.reason or error}"
    if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
        return "this process has too many open files; close some, or raise the limit (ulimit -n)"
    if isinstance(error, websocket.WebSocketException):
        return f"not a valid WebSocket handshake ({_clip(str(error))})"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"{type(error).__name__}: {_clip(str(error))}"


def _describe_each(error: NoneConnected) -> str:
    """What happened to the addresses; those with the same error are listed together."""
    hosts: dict[str, list[str]] = {}
    for host, failure in error.failures:
        hosts.setdefault(_describe(failure), []).append(host)
    return "; ".join(f"{what} ({_few(where)})" for what, where in hosts.items())


def _few(names: list[str]) -> str:
    more = len(names) - MOST_ADDRESSES
    return ", ".join(names[:MOST_ADDRESSES]) + (f" and {more} more" if more > 0 else "")


def _tls_error(error: ssl.SSLError, endpoint: Endpoint) -> TLSError:
    where = endpoint.authority
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of {where} was not accepted for the host {endpoint.host}"
        how = HOW_TO_TRUST if error.verify_code in UNKNOWN_ISSUER else ""
        return TLSError(f"{what}: {error.verify_message}; {_advice(error)}", how)
    if error.reason in OLD_TLS:
        return TLSError(
            f"{where} does not offer TLS 1.2 or newer ({error.reason}); "
            "something outdated is between you and the exchange"
        )
    return TLSError(
        f"{where} does not speak TLS on this port ({error.reason}); "
        "check the url's port, and whatever is in between"
    )


def _advice(error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code in (9, 10):
        return (
            "check this machine's clock; if it is right, the server's certificate has expired or is not "
            "valid yet"
        )
    if code in (62, 64):
        return (
            "check the url's host; a proxy or captive portal on the way also answers with its own certificate"
        )
    if code in UNKNOWN_ISSUER:
        return "its issuer is not known"
    return "check which server answers at this name, and the CA file"


def rejected(
    answer: Answer, endpoint: Endpoint, now: datetime, secrets: Iterable[str] = ()
) -> HandshakeRejected:
    """The error for an upgrade that was answered with a status other than 101; ``now`` is the wall clock."""
    secrets = tuple(secrets)
    status, reason, server_time = answer.status, peer_words(answer.text, secrets), answer.server_time
    said = f"{endpoint.host} answered the handshake with {status}" + (f" ({reason})" if reason else "")
    kind: type[HandshakeRejected] = HandshakeRejected
    if status == 401:
        kind, advice = AuthenticationError, unauthorized(endpoint, server_time, now)
    elif status == 403:
        kind = AuthenticationError
        advice = (
            "the request itself is not allowed. Check whether a proxy or firewall on the way adds an Origin "
            "header or blocks WebSockets, whether this network or country may use the exchange, and whether "
            "the key may use the WebSocket API"
        )
    elif 300 <= status < 400:
        advice = (
            f"it redirects to {_target(answer, secrets)}, and the signed headers are not sent anywhere else. "
            "Usually this is a maintenance or login page on the way, and temporary; if the exchange has "
            "moved, pass its new url"
        )
    elif status == 404:
        advice = (
            f"there is no WebSocket at the path {endpoint.sign_path}; the exchange's path is /trade-api/ws/v2"
        )
    elif status == 200:
        advice = (
            "an ordinary web page: this is not a WebSocket endpoint, or a captive portal or proxy "
            "answered in its place"
        )
    elif status == 429:
        advice = "too many connections or requests; the feed waits before it retries"
    elif status in (400, 426):
        advice = (
            "the server did not recognize the request as a WebSocket handshake; check the url, and whether a "
            "proxy on the way drops the Upgrade header"
        )
    elif status >= 500:
        advice = "the exchange, or a server in front of it, has a problem"
    else:
        advice = "check the url and the key"
    return kind(f"{said}: {advice}", status, reason, answer.retry_after(now), server_time)


def unauthorized(endpoint: Endpoint, server_time: datetime | None, now: datetime) -> str:
    """What to check after a 401, by the answer's Date and the wall clock ``now``."""
    if ".demo." in f".{endpoint.host}" or "demo-" in endpoint.host:
        advice = "this is the demo environment, and a production key does not work here"
    else:
        advice = "a demo key works with KALSHI_ENV=demo only"
    advice = (
        f"the key id is not known to this environment ({advice}), or the private key does not belong "
        "to that key id"
    )
    if server_time is None:
        return f"{advice}, or this machine's clock is wrong; check all three"
    skew = (now - server_time).total_seconds()
    if abs(skew) < SKEW_SECONDS:
        return f"{advice}; this machine's clock agrees with the server's"
    direction = "ahead of" if skew > 0 else "behind"
    return (
        f"this machine's clock is {abs(skew):.0f} s {direction} the server's, which makes the signature "
        f"invalid: set the clock. Otherwise, {advice}"
    )


def _target(answer: Answer, secrets: Iterable[str]) -> str:
    location = answer.headers.get("location", "")
    try:
        parts = urlsplit(location)
        where = f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else parts.path
    except ValueError:
        where = ""
    return peer_words(where, secrets) or "an unnamed place"


def proxy_failed(error: Exception, doing: str, proxy: Proxy) -> KalshiFeedError:
    """The error for a proxy that cannot be reached or does not behave like one."""
    if isinstance(error, KalshiFeedError):
        detach(error)
        return error
    failure = ProxyError(
        f"the proxy {proxy}: {doing} failed: {redact(_describe(error), proxy.secrets)}; "
        f"check the proxy, or {proxy.how_to_bypass}"
    )
    failure.__cause__ = detach(error, proxy.secrets)
    return failure


def proxy_refused(answer: Answer, proxy: Proxy) -> ProxyError:
    """The error for a CONNECT that was answered with a status other than 2xx, or with a web page."""
    reason = peer_words(answer.text, proxy.secrets)
    said = f"the proxy {proxy} answered CONNECT with {answer.status}" + (f" ({reason})" if reason else "")
    if answer.status in (401, 407) and proxy.username is not None:
        advice = "it does not accept the user name and password in the proxy's url"
    elif answer.status in (401, 407):
        advice = (
            "it requires a user name and password: put them into the proxy's url, "
            "http://user:password@host:port"
        )
    elif answer.status == 403:
        advice = f"it does not allow this host; ask its administrator, or {proxy.how_to_bypass}"
    elif 200 <= answer.status < 300:
        advice = (
            "that is a web page, not a tunnel: perhaps a login page that needs a browser, or an ordinary "
            f"web server; check the proxy, or {proxy.how_to_bypass}"
        )
    else:
        advice = "the proxy could not reach the exchange, or has its own problem"
    return ProxyError(f"{said}: {advice}", answer.status, reason)


def lost_reason(error: Exception, in_frame: bool) -> str:
    """Why an open connection ended, for ``ConnectionLost.reason``."""
    if isinstance(error, EndOfStream):
        what = str(error)
        return f"{what} in the middle of a frame" if in_frame else f"{what} without a close frame"
    if isinstance(error, ConnectionResetError):
        return "the connection was reset"
    if isinstance(error, ssl.SSLError):
        return f"TLS error: {error.reason or error}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"{type(error).__name__}: {_clip(str(error))}"


def peer_words(text: str, secrets: Iterable[str] = ()) -> str:
    """Make a peer's words fit to show: they may echo what we sent (K11)."""
    return _clip(redact(text, secrets))


def _clip(text: str) -> str:
    """Make ``text`` fit for a log line: short, and without control characters."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= REASON_LENGTH else text[: REASON_LENGTH - 1] + "…"


def local_time() -> datetime:
    """The wall clock, only for comparing it with a Date header."""
    return datetime.now(timezone.utc)
