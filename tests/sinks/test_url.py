"""open_sink(): the addresses of stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalshi_feed import ConfigurationError
from kalshi_feed.sinks import open_sink


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    places = [
        f"sqlite:///{tmp_path}/a.db",
        "sqlite:///b.db",
        "sqlite:c.db",
        f"parquet:{tmp_path}/d",
        "parquet:e",
    ]
    for place in places:
        open_sink(place).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db", "c.db", "d", "e"]


@pytest.mark.parametrize(
    "url",
    ["", "rows.db", "mysql://host/db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x", "parquet:"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(
        ConfigurationError,
        match="the address of a store must be postgresql://user@host/database, sqlite:///file",
    ):
        open_sink(url)
