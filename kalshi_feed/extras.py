"""How to install an extra of this package: the hint of every message about a missing library.

Owns the wording. The package is on no index, so the command that works is the one that names the place this
copy was installed from; pip keeps a note of that (PEP 610). Thread-safe: functions only.
"""

from __future__ import annotations

import json
import shlex
from typing import Any, Final
from urllib.parse import unquote, urlsplit

__all__ = ["how_to_install"]

_NAME: Final = "kalshi-feed"


def how_to_install(extra: str) -> str:
    """What to do about a missing library, for the end of a message: "install kalshi-feed[demo]: pip install
    …"."""
    return f"install {_NAME}[{extra}]: {_command(extra, _origin())}"


def _origin() -> dict[str, Any]:
    """pip's note about this copy; empty if there is none, as when the package runs from a checkout."""
    from importlib import metadata  # slow to import, and rarely needed

    try:
        note = json.loads(metadata.distribution(_NAME).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _command(extra: str, origin: dict[str, Any]) -> str:
    url = origin.get("url")
    if not url:
        return f"pip install '.[{extra}]' in a checkout, or pip install '{_NAME}[{extra}] @ git+URL'"
    if origin.get("dir_info", {}).get("editable"):
        return f"pip install -e {shlex.quote(unquote(urlsplit(url).path) + f'[{extra}]')}"
    vcs = origin.get("vcs_info")
    if vcs:
        url = f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}"
    if origin.get("subdirectory"):
        url += f"#subdirectory={origin['subdirectory']}"
    return f"pip install {shlex.quote(f'{_NAME}[{extra}] @ {url}')}"
