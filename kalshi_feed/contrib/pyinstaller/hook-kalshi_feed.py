"""PyInstaller runs this when a program imports kalshi_feed; it adds the files in ``datas`` to the program."""

from __future__ import annotations

from pathlib import Path

datas = [(str(Path(__file__).parents[1] / "flask" / "page"), "kalshi_feed/contrib/flask/page")]
