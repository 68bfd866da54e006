"""A throw-away certificate authority and the TLS contexts made from it.

Owns the CA of one exchange. Imports nothing of the package; thread-safe (immutable after construction).
"""

from __future__ import annotations

import ssl

import trustme


class Certificates:
    """One CA with one certificate for localhost, 127.0.0.1 and ::1. Immutable, so safe in any thread."""

    def __init__(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.ca_pem: bytes = authority.cert_pem.bytes()
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate.configure_cert(self.server_context)

    def client_context(self) -> ssl.SSLContext:
        """A fresh default context that trusts this CA only, TLS 1.2 at least."""
        context = ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
