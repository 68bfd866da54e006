"""PyInstaller: where its hook for this package is, so that a frozen program has the files of the Flask page.

PyInstaller finds hook_dirs() by the entry point ``pyinstaller40`` (setup.cfg). Nothing else calls it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """The folders with hooks: this one."""
    return [str(Path(__file__).parent)]
