"""The hint about a missing library names a command that works for this copy of the package."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import extras
from tests.imports import PACKAGE

URL, COMMIT = "https://git.example/kalshi_feed.git", "0123abcd"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (
            {},
            "pip install '.[demo]' in a checkout, or pip install 'kalshi-feed[demo] @ git+URL'",
        ),
        (
            {"url": "file:///work/a%20b", "dir_info": {"editable": True}},
            "pip install -e '/work/a b[demo]'",
        ),
        (
            {"url": "file:///work/main", "dir_info": {}},
            "pip install 'kalshi-feed[demo] @ file:///work/main'",
        ),
        (
            {"url": URL, "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"pip install 'kalshi-feed[demo] @ git+{URL}@{COMMIT}'",
        ),
        (
            {
                "url": URL,
                "vcs_info": {"vcs": "git", "commit_id": COMMIT, "requested_revision": "v1"},
                "subdirectory": "python",
            },
            f"pip install 'kalshi-feed[demo] @ git+{URL}@v1#subdirectory=python'",
        ),
    ],
    ids=["checkout", "editable", "folder", "git", "git, a folder of it"],
)
def test_the_command_names_where_the_package_came_from(
    monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any], command: str
) -> None:
    monkeypatch.setattr(extras, "_origin", lambda: origin)
    assert extras.how_to_install("demo") == f"install kalshi-feed[demo]: {command}"


@pytest.mark.parametrize("note", [None, "not JSON", "[1]", '{"url": "file:///somewhere"}'])
def test_pips_note_is_read(monkeypatch: pytest.MonkeyPatch, note: str | None) -> None:
    class Installed:
        """A distribution with that note."""

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return note

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed())
    expected = (
        "'kalshi-feed[cli] @ file:///somewhere'" if note and "url" in note else "'.[cli]' in a checkout"
    )
    assert f": pip install {expected}" in extras.how_to_install("cli")


def test_every_hint_comes_from_here() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if "pip install" in path.read_text(encoding="utf-8")]
    assert files == [PACKAGE / "extras.py"]
