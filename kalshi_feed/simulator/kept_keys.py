"""A folder that keeps an exchange's keys, so that its next start is the same exchange to its clients.

Owns the folder's files: ``key.pem``, the private key of the account; ``ca.pem``, the certificate that clients
trust; ``server.pem``, the server's own key and certificate. All of them or none. Not thread-safe: used while
an exchange is made.
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
    """The account and the certificates of the folder; new ones, which are written to it (mode 0600), if it
    has none.

    Raises ValueError for a folder whose files do not match, and OSError for one that cannot be read or
    written. Never overwrites a file.
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
            f"the folder {str(folder)!r} has {' and '.join(found)} and not {' and '.join(missing)}: name the "
            "folder of an earlier "
            "exchange, or a new one"
        )
    key, ca, server = ((folder / name).read_bytes() for name in _FILES)
    try:
        return Account(private_key_pem=key), Certificates(ca, server)
    except ValueError as error:
        raise ValueError(
            f"the files of {str(folder)!r} do not match: {error}; name another folder, or remove these files"
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """A new file that its owner alone can read. Raises OSError, also if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
