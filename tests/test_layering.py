"""Imports point downward only, the pure parts stay pure, and every file is short.

tests/imports.py reads the source with ast, so it also sees imports inside functions. An import under ``if
TYPE_CHECKING`` counts between the package's own modules (a type from above is a dependency on above), but not
toward the libraries a module may use.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.imports import PACKAGE, all_imports, files, imports_of, modules, own_name, within

MAX_LINES = 440  # of code: explanations cost nothing
MAX_ROOT = 18  # modules next to the folders
MAX_TEST_LINES = 500  # of a test file, including blanks and comments
TESTS = Path(__file__).parent

# What each part of the package may import from the others. A part is a module or a folder; the longest name
# that fits a module decides. "" is kalshi_feed itself, with the public names. "core" stands for all of CORE.
CORE = {
    "clocks": "",
    "compiled": "",
    "errors": "",
    "events": "messages.plain messages.listed",
    "extras": "",
    "forks": "",
    "greenlets": "",
    "meters": "",
    "version": "",
    "threads": "forks greenlets",
    "credentials": "errors",
    "messages": "errors",
    "waiting": "greenlets errors",
    "books": "messages waiting threads greenlets forks errors",
    "session": "books.book messages events errors",
    "stats": "messages.plain events errors",
    "dispatch": "books.book messages meters stats events waiting threads greenlets forks errors",
    "connection": "clocks threads greenlets forks errors",
    "engine": "clocks connection dispatch session books stats meters messages credentials events waiting "
    "threads greenlets forks errors",
    "recording": "clocks engine dispatch session books messages events extras waiting threads greenlets "
    "errors version",
    "subscription": "engine session messages errors",
    "by_type": "engine dispatch session messages waiting threads errors",
    "callbacks": "by_type dispatch session books.book messages events errors",
    "feed": "by_type callbacks subscription recording following filling relay rest engine connection "
    "dispatch session books stats messages credentials events waiting errors",
    "": "compiled feed subscription following recording dispatch session books stats messages credentials "
    "events errors version",
}
ON_TOP = {
    "simulator": "core",
    "contrib": "core rest relay",
    "sinks": "core",
    "cli": "core rest following simulator sinks relay",
    "relay": "core rest following",
    "rest": "core",
    "following": "core rest",
    "filling": "core rest",
    "__main__": "cli",
}
MAY_IMPORT = CORE | ON_TOP

# Which parts may import a library (including the standard library's modules) at run time.
USERS = {
    "asyncio": "",
    "certifi": "connection",
    "click": "cli",
    "cryptography": "credentials simulator",
    "flask": "contrib",
    "prometheus_client": "contrib",
    "psycopg": "sinks",
    "pyarrow": "recording sinks",
    "pytest": "simulator",
    "redis": "contrib relay",
    "requests": "rest",
    "rich": "cli",
    "select": "connection simulator cli",
    "selectors": "connection simulator cli",
    "socket": "connection simulator cli contrib.flask.streams relay",
    "sqlite3": "sinks",
    "ssl": "connection simulator cli relay",
    "trustme": "simulator",
    "websocket": "connection simulator cli",
    "websockets": "simulator",
    "zstandard": "recording",
}
# no threads, clocks or sockets; a log may block on its disk
PURE = (
    "books.book",
    "books.levels",
    "engine.holding",
    "engine.holes",
    "errors",
    "events",
    "filling.judging",
    "following.news",
    "following.roster",
    "messages",
    "meters",
    "relay.encoding",
    "relay.layout",
    "relay.registry",
    "relay.wishes",
    "session",
)
NOT_PURE = {
    "_thread",
    "asyncio",
    "concurrent",
    "logging",
    "queue",
    "select",
    "selectors",
    "socket",
    "ssl",
    "threading",
}
NOT_PURE |= {"subprocess", "time"}


def part_of(module: str) -> str | None:
    return max((part for part in MAY_IMPORT if within(module, part)), key=len, default=None)


def test_imports_between_modules_point_downward() -> None:
    wrong = []
    for found in all_imports():
        target = own_name(found.target)
        part = part_of(found.module)
        if target is None or part is None:
            continue
        if part and within(target, part.partition(".")[0]) and within(found.module, part.partition(".")[0]):
            continue  # inside one folder
        allowed = MAY_IMPORT[part].split()
        if "core" in allowed and part_of(target) in CORE:
            continue
        if not any(within(target, other) for other in allowed):
            wrong.append(
                f"{found}, but {part or '__init__'} may import only: {MAY_IMPORT[part] or 'nothing'}"
            )
    assert not wrong, "\n".join(wrong)


def test_every_module_has_its_place_in_the_table() -> None:
    homeless = [module for module in modules() if part_of(module) is None]
    assert not homeless, f"say in MAY_IMPORT what these may import: {homeless}"


def test_libraries_are_used_where_they_belong() -> None:
    wrong = [
        f"{found}, which only these may: {USERS[library] or 'none'}"
        for found in all_imports()
        if (library := found.target.partition(".")[0]) in USERS
        and not found.typing_only
        and not any(within(found.module, part) for part in USERS[library].split())
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_parts_know_no_threads_clocks_or_sockets() -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if any(within(found.module, part) for part in PURE)
        and found.target.partition(".")[0] in NOT_PURE
        and not found.typing_only
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [pytest.param(name, id=name or "__init__") for name in files()])
def test_docstrings_and_length(module: str) -> None:
    tree = modules()[module]
    assert ast.get_docstring(tree), "the module has no docstring"
    bare = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare, f"public classes without a docstring: {bare}"
    lines = code_lines(module)
    assert lines <= MAX_LINES, f"{lines} lines of code: more than {MAX_LINES} are not read in one sitting"


def code_lines(module: str) -> int:
    """The number of lines that are not blank, a comment or a docstring."""
    file = PACKAGE / module.replace(".", "/")
    source = (file / "__init__.py" if file.is_dir() else file.with_suffix(".py")).read_text("utf-8")
    prose = {
        line
        for node in ast.walk(modules()[module])
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)  # a docstring, including one of an attribute
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in prose
        for number, line in lines
    )


def test_the_root_has_few_modules() -> None:
    root = [
        module for module in modules() if module and "." not in module and not (PACKAGE / module).is_dir()
    ]
    assert len(root) <= MAX_ROOT, f"{len(root)} modules are at the root: {root}"


def test_no_two_classes_share_a_name() -> None:
    """One word for one thing.

    Messages on the yes scale and messages that came over REST are the same types to a user, so they share
    names; what REST describes has the exchange's own words.
    """
    sharing = ("messages.from_rest", "messages.yes_scale", "messages.listed", "rest.records")
    found: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and module not in sharing:
                found.setdefault(node.name, []).append(module)
    assert not {name: places for name, places in found.items() if len(places) > 1}


# --- the tests themselves


def test_test_files_can_be_read_in_one_sitting() -> None:
    """The contract test is the exception: it stays in one piece."""
    lengths = {
        str(file.relative_to(TESTS)): len(file.read_text("utf-8").splitlines())
        for file in TESTS.rglob("test_*.py")
    }
    del lengths["feed/test_contract.py"]
    too_long = {name: lines for name, lines in lengths.items() if lines > MAX_TEST_LINES}
    assert not too_long, f"more than {MAX_TEST_LINES} lines: split by subject {too_long}"


def test_nothing_is_imported_from_a_test_module() -> None:
    """Shared code is in a folder's support.py, or in a module whose name says what it is."""
    wrong = []
    for file in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            else:
                continue
            if any(part.startswith("test_") for name in names for part in name.split(".")):
                wrong.append(f"{file.relative_to(TESTS)} line {node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


# --- the reading of imports itself


@pytest.mark.parametrize(
    ("module", "source", "targets"),
    [
        ("credentials", "from .errors import X", ["kalshi_feed.errors"]),
        (
            "session",
            "from . import channels\nfrom ..errors import X",
            ["kalshi_feed.session.channels", "kalshi_feed.errors"],
        ),
        (
            "session.output",
            "from . import channels, x",
            ["kalshi_feed.session.channels", "kalshi_feed.session"],
        ),
        ("session.output", "from .. import errors, X", ["kalshi_feed.errors", "kalshi_feed"]),
        ("", "from .session.output import X", ["kalshi_feed.session.output"]),
        ("", "from kalshi_feed import errors, X", ["kalshi_feed.errors", "kalshi_feed"]),
        ("books", "def f():\n    import os.path as p, ssl", ["os.path", "ssl"]),
    ],
)
def test_imports_are_read_right(module: str, source: str, targets: list[str]) -> None:
    assert [found.target for found in imports_of(module, ast.parse(source))] == targets


def test_imports_for_typing_are_told_apart() -> None:
    source = "if TYPE_CHECKING:\n    import ssl\nelse:\n    import socket\nimport time"
    found = {one.target: one.typing_only for one in imports_of("books", ast.parse(source))}
    assert found == {"ssl": True, "socket": False, "time": False}
