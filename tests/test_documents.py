"""Documents and comments refer to things that exist: links, files, PROTOCOL.md sections, fault rows."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.faults.rows import ROWS
from tests.faults.seeded_bugs.bugs import BUGS

TOP = Path(__file__).parents[1]
OUTSIDE = re.compile(
    r"\.\./shared\b|(?<![\w/])(?:design|faults|findings|reshape|additions|protocol|anchors|performance)\.md\b"
)
CITATION = re.compile(r"PROTOCOL\.md (\d+(?:\.\d+)?(?:(?:, | and |, and )\d+(?:\.\d+)?)*)")
MAPS = ("kalshi_feed/README.md", "tests/faults/README.md")


@cache
def tracked() -> tuple[str, ...]:
    """Every text file in the repository; without git, every text file in the folder."""
    named = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, capture_output=True, text=True, check=False
    ).stdout.split()
    return tuple(
        name
        for name in named
        if name.endswith((".py", ".md", ".cfg", ".toml", "run")) and (TOP / name).exists()
    )


def text(name: str) -> str:
    return (TOP / name).read_text(encoding="utf-8")


def anchors(name: str) -> set[str]:
    """The fragments that links to the page may have: headings as GitHub spells them, and explicit anchors."""
    headings = re.findall(r"^#+ +(.+?) *$", text(name), re.MULTILINE)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"`|\*", "", heading).lower()).replace(" ", "-")
        for heading in headings
    ]
    return {*plain, *re.findall(r'<a (?:id|name)="([^"]+)"', text(name))}


@pytest.mark.parametrize("page", [name for name in tracked() if name.endswith(".md")])
def test_relative_links_lead_somewhere(page: str) -> None:
    body = re.sub(r"```.*?```", "", text(page), flags=re.DOTALL)
    inline = re.findall(r"\]\(([^)\s]+)\)", body)
    named = re.findall(r"^\[[^\]]+\]: +(\S+)", body, re.MULTILINE)
    broken = []
    for link in (*inline, *named):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (TOP / page).parent / path if path else TOP / page
        if not target.exists():
            broken.append(link)
        elif (
            fragment
            and target.suffix == ".md"
            and fragment not in anchors(str(target.resolve().relative_to(TOP.resolve())))
        ):
            broken.append(link)
    assert not broken, f"{page} has broken links: {broken}"


@pytest.mark.parametrize(
    "page", [name for name in tracked() if name.endswith(".md") or name.startswith("samples/")]
)
def test_programs_are_run_with_the_environment_that_readme_makes(page: str) -> None:
    """Many machines have no `python`, and a `python3` without this package."""
    commands = (
        r"(?<![\w/.-])(?:python3? (?!-m venv)(?=-|samples/|\w+\.py)|(?:pytest|gunicorn|celery) (?:-|tests))"
    )
    lines = [line for line in text(page).splitlines() if not line.startswith("<!-- made by")]
    assert [line for line in lines if re.search(commands, line)] == []


def test_no_file_refers_to_one_outside_of_the_repository() -> None:
    """The captures of production traffic are the exception: their tests are skipped without them."""
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in tracked()
        for number, line in enumerate(text(name).splitlines(), 1)
        if OUTSIDE.search(line) and "capture" not in line and name != "tests/test_documents.py"
    ]
    assert not found, "\n".join(found)


def test_cited_sections_of_the_protocol_exist() -> None:
    body = text("kalshi_feed/PROTOCOL.md")
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", body, re.MULTILINE))
    ninth = body.split("\n## 9.")[1].split("\n## 10.")[0]
    sections |= {f"9.{number}" for number in re.findall(r"^(\d+)\. ", ninth, re.MULTILINE)}
    assert len(sections) > 40
    missing = [
        f"{name}: {citation[0]}"
        for name in tracked()
        for citation in CITATION.finditer(text(name))
        for section in re.findall(r"\d+(?:\.\d+)?", citation[1])
        if section not in sections
    ]
    assert not missing, "\n".join(missing)


def test_cited_faults_have_a_row() -> None:
    missing = [
        f"{name}: {row}"
        for name in tracked()
        if name.startswith("kalshi_feed/") and name.endswith(".py")
        for line in text(name).splitlines()
        if "#" in line or '"' in line or line.startswith(" ")
        for row in re.findall(r"[(, ]([NTPHSRKD]\d\d)(?=[),. ]|$)", line)
        if row not in ROWS
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", MAPS)
def test_maps_name_files_that_exist(page: str) -> None:
    """A path in backquotes is a file in the package, in the tests, or next to the page."""
    named = set(re.findall(r"`([\w/]+\.(?:py|md|cfg|toml))`", text(page)))
    assert len(named) > 10
    roots = (TOP, TOP / "kalshi_feed", TOP / "tests", (TOP / page).parent)
    files = {Path(name).name for name in tracked()}
    missing = [
        name for name in named if not any((root / name).exists() for root in roots) and name not in files
    ]
    assert not missing


def test_the_map_names_functions_that_exist() -> None:
    """`Class.method()` and `function()`, wherever they are defined."""
    source = "\n".join(text(name) for name in tracked() if name.endswith(".py"))
    named = set(re.findall(r"`(?:\w+\.)*(\w+)\(\)`", text("kalshi_feed/README.md")))
    assert len(named) > 50
    known = set(re.findall(r"\bdef (\w+)|\bclass (\w+)", source))
    missing = named - {name for pair in known for name in pair} - {"getaddrinfo", "join", "repr", "close"}
    assert not missing


def test_counted_rows_and_planted_bugs() -> None:
    text = (TOP / "tests" / "README.md").read_text("utf-8")
    assert f"A matrix lists {len(ROWS)} faults" in text
    assert f"{len(BUGS)} realistic bugs are planted" in text
