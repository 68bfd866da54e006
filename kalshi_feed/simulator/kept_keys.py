"""A folder that keeps an exchange's keys, so that the next one looks the same to its clients.

Owns the folder's files: ``key.pem``, the account's private key; ``ca.pem``, the certificate that clients
trust; ``server.pem``, the server's own key and certificate. Either all of them exist or none. Not
thread-safe: used while an exchange is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .accounts import Account, KeyType
from .certificates import Certificates

__all__ = ["keys_in", "write_private"]

_FILES: Final = ("key.pem", "ca.pem", "server.pem")


def keys_in(folder: str | os.PathLike[str], key_type: KeyType) -> tuple[Account, Certificates]:
    """The account and the certificates in the folder; if it has none, new ones, which are written to it (mode
    0600).

    Never overwrites a file. Raises ValueError for a folder whose files do not match, OSError for one that
    cannot be read or written.
    """
    folder = Path(folder)
    found = [name for name in _FILES if (folder / name).exists()]
    if not found:
        account, certificates = Account(key_type), Certificates()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in zip(
            _FILES, (account.private_key_pem(), certificates.ca_pem, certificates.server_pem), strict=True
        ):
            write_private(folder / name, content)
        return account, certificates
    missing = [name for name in _FILES if name not in found]
    if missing:
        raise ValueError(
            f"the folder {str(folder)!r} has {' and '.join(found)}, but not {' and '.join(missing)}: use the "
            "folder of an earlier exchange, or a new one"
        )
    key, ca, server = ((folder / name).read_bytes() for name in _FILES)
    try:
        return Account(private_key_pem=key), Certificates(ca, server)
    except ValueError as error:
        raise ValueError(
            f"the files in {str(folder)!r} do not match: {error}; use another folder, or remove these files"
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read. Raises OSError, also if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
