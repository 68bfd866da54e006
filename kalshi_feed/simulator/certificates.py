"""A throw-away certificate authority and the TLS contexts made from it.

Owns the CA of one exchange.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import partial

import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from ..recording.files import patiently


class Certificates:
    """One CA with one certificate for localhost, 127.0.0.1 and ::1. Immutable, so safe in any thread.

    ``ca_pem`` and ``server_pem``: those of an earlier exchange instead of new ones. Raises ValueError if
    they do not belong together.
    """

    def __init__(self, ca_pem: bytes | None = None, server_pem: bytes | None = None) -> None:
        if ca_pem is None or server_pem is None:
            authority = trustme.CA()
            certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
            ca_pem, server_pem = (
                authority.cert_pem.bytes(),
                certificate.private_key_and_cert_chain_pem.bytes(),
            )
        self.ca_pem: bytes = ca_pem
        self.server_pem: bytes = server_pem  # the server's private key, then its certificate
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            _load_chain(self.server_context, server_pem)
            server, authority_certificate = (
                x509.load_pem_x509_certificate(server_pem),
                x509.load_pem_x509_certificate(ca_pem),
            )
            server.verify_directly_issued_by(authority_certificate)
        except (ssl.SSLError, ValueError, TypeError, InvalidSignature) as error:
            raise ValueError(
                "the server's certificate, its key and the CA certificate do not belong together"
            ) from error

    def client_context(self) -> ssl.SSLContext:
        """A new default context that trusts this CA only, with TLS 1.2 or later."""
        context = ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _load_chain(context: ssl.SSLContext, server_pem: bytes) -> None:
    """Load the chain through a file, which is the only way; the file is gone when this returns."""
    descriptor, name = tempfile.mkstemp(prefix="kalshi-exchange-", suffix=".pem")  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(server_pem)
        context.load_cert_chain(name)
    finally:
        patiently(partial(os.unlink, name))
