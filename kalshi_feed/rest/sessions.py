"""One GET on a kept connection: requests' sessions, with their errors turned into the package's own.

Owns the sessions and the limit on an answer's size. Nothing that requests raises gets out, because it knows
the headers and the proxy: errors are returned as values, without the frames they came through.
"""

from __future__ import annotations

import http.client
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter

from ..connection.failures import connection_failed, proxy_refused
from ..connection.http import Answer, NotHttp
from ..connection.proxy import Proxy
from ..connection.redaction import install_log_filter, without_locals
from ..connection.url import Endpoint
from ..errors import KalshiFeedError
from ..forks import call_in_child

if TYPE_CHECKING:
    import ssl

__all__ = ["MAX_BYTES", "Sessions"]

MAX_BYTES: Final = 64 * 1024 * 1024  # of an answer; a page of 1,000 markets has about 4 MB
_PIECE: Final = 16_384  # bytes read at once; a compressed one may become a thousand times as many
_REFUSED_BY_PROXY: Final = "Tunnel connection failed: "
_MOST_LINKS: Final = 50


class Sessions:
    """Sends GET requests. Thread-safe: requests.Session is not, so each call takes an idle one, or makes one,
    and puts it back. There are never more of them than simultaneous calls.

    ``context`` is None for http://; ``timeout`` is the seconds for each of connecting, the answer's
    beginning, and its content.
    """

    def __init__(
        self, endpoint: Endpoint, context: ssl.SSLContext | None, proxy: Proxy | None, timeout: float
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._proxy = proxy
        self._timeout = timeout
        self._idle: deque[requests.Session] = deque()  # newest last; single operations only
        self._is_closed = False
        call_in_child(self._forget)
        install_log_filter("urllib3.connection")
        install_log_filter("urllib3.connectionpool")  # urllib3 before 2.0 logs it there

    @without_locals
    def get(self, path_and_query: str, headers: Mapping[str, str]) -> Answer | KalshiFeedError:
        """Return the answer, or the error: ConnectionFailed, TLSError, ProxyError, or a KalshiFeedError for
        an answer that is too large."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._new()
        try:
            outcome = self._get(session, path_and_query, headers)
        except BaseException:
            session.close()  # Ctrl-C: half an answer may be in it
            raise
        if isinstance(outcome, KalshiFeedError) or self._is_closed:
            session.close()
        else:
            self._idle.append(session)
            if self._is_closed:  # in the meantime
                self.close()
        return outcome

    def close(self) -> None:
        """Close all connections: idle ones now, the others once their answer has arrived."""
        self._is_closed = True
        self._forget()

    def _forget(self) -> None:
        """Close the idle ones. In a forked child, that closes its copies of the descriptors only."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was first
                return

    def _new(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no .netrc, no proxy of its own choice, no REQUESTS_CA_BUNDLE
        session.mount("https://", _Adapter(self._context, self._proxy))
        session.mount("http://", _Adapter(None, self._proxy))
        return session

    def _get(
        self, session: requests.Session, path_and_query: str, headers: Mapping[str, str]
    ) -> Answer | KalshiFeedError:
        url = f"{self._endpoint.scheme}://{self._endpoint.authority}{path_and_query}"
        proxy = "" if self._proxy is None else f"http://{self._proxy.authority}"  # the adapter signs in
        try:
            with session.get(
                url,
                headers=dict(headers),
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                proxies={"http": proxy, "https": proxy},
            ) as response:
                body = self._body(response)
                return Answer(
                    response.status_code,
                    response.reason or "",
                    {name.lower(): value for name, value in response.headers.items()},
                    body,
                )
        except _TooLarge:
            return KalshiFeedError(
                f"{self._endpoint.redacted}: the answer is larger than {MAX_BYTES:,} bytes"
            )
        except Exception as error:  # of requests, urllib3, http.client, ssl or the socket
            return self._failed(error, headers)

    def _body(self, response: requests.Response) -> bytes:
        deadline = time.monotonic() + self._timeout
        body = bytearray()
        # what has arrived, without waiting for a whole piece; urllib3 before 2.2 waits
        read = getattr(response.raw, "read1", response.raw.read)
        while piece := read(_PIECE, decode_content=True):
            body += piece
            if len(body) > MAX_BYTES:
                raise _TooLarge
            if time.monotonic() > deadline:
                raise TimeoutError
        return bytes(body)

    def _failed(self, error: Exception, headers: Mapping[str, str]) -> KalshiFeedError:
        proxy = self._proxy
        secrets = (*headers.values(), *(proxy.secrets if proxy else ()))
        cause = _cause(error, self._timeout)
        said = str(cause)
        if proxy is not None and said.startswith(_REFUSED_BY_PROXY):
            status = said.removeprefix(_REFUSED_BY_PROXY)
            if status[:3].isdigit():
                return proxy_refused(Answer(int(status[:3]), status[3:].strip(), {}), proxy)
        return connection_failed(cause, "the request", self._endpoint, proxy, secrets)


class _TooLarge(Exception):
    """The answer is too large. Owned by the thread that raises it."""


class _Adapter(HTTPAdapter):
    """Connects with our own TLS settings only, and signs in to the proxy. Owned by its session."""

    def __init__(self, context: ssl.SSLContext | None, proxy: Proxy | None) -> None:
        self._context = context
        self._proxy = proxy
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        # not in the proxy's url: requests would split and unquote a password with / # or % in it
        if self._proxy is None or self._proxy.username is None:
            return {}
        return {"Proxy-Authorization": f"Basic {self._proxy.basic}"}

    def cert_verify(self, conn: Any, *args: Any, **kwargs: Any) -> None:
        # the original loads requests' own certificates into the context, in addition to what it trusts
        if self._context is not None:
            conn.cert_reqs = self._context.verify_mode
            conn.assert_hostname = None if self._context.check_hostname else False


def _cause(error: BaseException, timeout: float) -> Exception:
    """The error of the socket, of TLS or of HTTP inside what requests raises; a new one if there is none."""
    for link in _inside(error):
        if isinstance(link, (requests.Timeout, TimeoutError)):
            return TimeoutError(f"no answer, or not all of it, within {timeout:g} s")
        if isinstance(link, requests.RequestException):
            continue
        if isinstance(link, OSError):
            return link
        if isinstance(link, http.client.HTTPException):
            return NotHttp("the answer is not HTTP, or was cut off")
    return NotHttp(f"the answer cannot be read ({type(error).__name__})")


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was made of, outermost first."""
    found: list[BaseException] = [error]
    for number, link in enumerate(found):
        yield link
        parts = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        found += [part for part in parts if isinstance(part, BaseException) and part not in found]
        if number > _MOST_LINKS:
            return
