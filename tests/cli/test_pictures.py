"""The README's pictures are what the view draws."""

from __future__ import annotations

import html
import re

import pytest

from tests import pictures


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    """By the picture's name: all that is written in it, without blanks."""
    return {
        picture.name: re.sub(r"\s", "", "".join(line.plain for line in lines))
        for picture, lines in pictures.screens()
    }


@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda picture: picture.name)
def test_the_picture_is_up_to_date(drawn: dict[str, str], picture: pictures.Picture) -> None:
    """What is written in it; how, differs between rich's versions."""
    text = (pictures.FOLDER / f"{picture.name}.svg").read_text(encoding="utf-8")
    written = re.findall(r'<text class="[\w-]+-r\d+"[^>]*>(.*?)</text>', text, re.DOTALL)
    assert re.sub(r"\s", "", html.unescape("".join(written))) == drawn[picture.name], (
        "run: python -m tests.pictures"
    )


@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda picture: picture.name)
def test_the_picture_fetches_nothing_and_is_small(picture: pictures.Picture) -> None:
    text = (pictures.FOLDER / f"{picture.name}.svg").read_text(encoding="utf-8")
    assert "url(http" not in text and "@font-face" not in text and "href" not in text
    assert len(text) < 40_000
