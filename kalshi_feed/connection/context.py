"""TLS settings: the default context and the checks on one that the user brings.

Owns what this package demands of a certificate check; must not import anything but the errors and the url rules.
"""

from __future__ import annotations

import ssl
import sys

import certifi

from ..errors import ConfigurationError
from .url import Endpoint

__all__ = ["check_context", "default_context"]


def default_context() -> ssl.SSLContext:
    """What ``ssl.create_default_context(cafile=certifi.where())`` gives, TLS 1.2 at least.

    Put together by hand because that function also obeys SSLKEYLOGFILE, which writes the session keys to a file (T11).
    Raises ConfigurationError when certifi's certificates cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    cafile = certifi.where()
    try:
        context.load_verify_locations(cafile=cafile)
    except OSError as error:
        problem = error.with_traceback(None)
    else:
        return context
    raise ConfigurationError(
        f"the CA certificates of certifi cannot be read from {cafile} ({problem}); "
        "reinstall certifi, or pass ssl_context=ssl.create_default_context(cafile=…)"
    ) from problem


def check_context(context: object, endpoint: Endpoint) -> None:
    """Refuse a context that does not verify the server, unless the server is on loopback (T10).

    ``None`` is fine (the default context). Raises ConfigurationError.
    """
    if context is None:
        return
    if not isinstance(context, ssl.SSLContext):
        raise ConfigurationError(f"ssl_context must be an ssl.SSLContext or None, not {type(context).__name__}")
    if endpoint.is_loopback or not endpoint.is_secure:
        return
    if context.verify_mode != ssl.CERT_REQUIRED:
        raise ConfigurationError(
            "ssl_context does not require a certificate (verify_mode); anybody could then read the signed headers: "
            "leave ssl_context out, or use ssl.create_default_context(cafile=…) with your own CA"
        )
    if not context.check_hostname:
        raise ConfigurationError(
            "ssl_context does not check the host name (check_hostname); leave ssl_context out, "
            "or use ssl.create_default_context(cafile=…) with your own CA"
        )
