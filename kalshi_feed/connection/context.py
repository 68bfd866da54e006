"""TLS settings: the default context, and the checks of one that the user passes in.

Owns what this package requires of certificate verification.
"""

from __future__ import annotations

import _ssl
import os
import ssl
import sys
from typing import Final

import certifi

from ..errors import ConfigurationError
from .url import Endpoint

__all__ = ["ca_context", "check_context", "default_context", "weakness"]

NEW_ENOUGH: Final = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED)


def default_context() -> ssl.SSLContext:
    """Return what ``ssl.create_default_context(cafile=certifi.where())`` would, with TLS 1.2 or newer.

    Built by hand because that function also obeys SSLKEYLOGFILE, which writes the session keys to a file
    (T11). Raises ConfigurationError if certifi's certificates cannot be read.
    """
    context = _empty_context()
    cafile = certifi.where()
    try:
        context.load_verify_locations(cafile=cafile)
    except OSError as error:
        problem = error.with_traceback(None)
    else:
        return context
    raise ConfigurationError(
        f"certifi's CA certificates cannot be read from {cafile} ({problem}); reinstall certifi"
    ) from problem


def ca_context(ca_file: str, source: str = "") -> ssl.SSLContext:
    """Return a context that trusts only the certificates in this PEM file. Raises ConfigurationError.

    ``source`` follows "the CA file" in the error message: " of KALSHI_CA_FILE", for example.
    """
    context = _empty_context()
    try:
        context.load_verify_locations(cafile=os.path.expanduser(ca_file))
    except ssl.SSLError:
        problem = "it contains no PEM certificate"
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        return context
    raise ConfigurationError(f"the CA file{source} {ca_file!r} cannot be used: {problem}")


def _empty_context() -> ssl.SSLContext:
    """Return a context that verifies certificate and host name, and trusts no CA yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def check_context(context: object, endpoint: Endpoint) -> None:
    """Refuse a context that does not verify the server or allows old TLS, except on loopback (T06, T10).

    ``None`` is fine: it stands for the default context. A context can be changed later, so the dial checks
    again. Raises ConfigurationError.
    """
    if context is None:
        return
    if not isinstance(context, _ssl._SSLContext):  # of which gevent and eventlet make other subclasses
        raise ConfigurationError(
            f"ssl_context must be an ssl.SSLContext or None, not {type(context).__name__}"
        )
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ConfigurationError("ssl_context is for servers; use ssl.create_default_context(cafile=…)")
    weak = weakness(context)
    if weak and endpoint.is_secure and not endpoint.is_loopback:
        raise ConfigurationError(weak)


def weakness(context: _ssl._SSLContext) -> str:
    """How ``context`` allows a man in the middle, and what to do about it; empty if it does not."""
    if context.verify_mode != ssl.CERT_REQUIRED:
        return (
            "ssl_context does not require a certificate (verify_mode), so anyone could read the signed "
            "headers; leave ssl_context out, or use ssl.create_default_context(cafile=…) with your own CA"
        )
    if not context.check_hostname:
        return (
            "ssl_context does not check the host name (check_hostname); leave ssl_context out, "
            "or use ssl.create_default_context(cafile=…) with your own CA"
        )
    if context.minimum_version not in NEW_ENOUGH:
        return "ssl_context allows TLS older than 1.2; set its minimum_version to ssl.TLSVersion.TLSv1_2"
    return ""
