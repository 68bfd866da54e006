"""What setup.cfg promises: dependencies that are really imported, extras that are optional, entry points."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import PACKAGE, all_imports, within

pytestmark = pytest.mark.slow

TOP = PACKAGE.parent
LIBRARIES = sys.stdlib_module_names | {"kalshi_feed"}
PACKAGE_OF = {  # if the import has another name than the package
    "prometheus_client": "prometheus-client",
    "websocket": "websocket-client",
}
EXTRA_OF = {
    "simulator": "simulator",
    "cli": "demo",
    "contrib.flask": "flask",
    "contrib.flask.metrics": "prometheus",
    "contrib.prometheus": "prometheus",
    "recording.files": "zstd",
    "rest": "rest",
    "recording.tables": "arrow",
    "relay": "redis",
    "sinks.parquet": "arrow",
    "sinks.postgres": "postgres",
}


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg")
    return parser


def names(requirements: str) -> set[str]:
    """The packages in a list of requirements; "kalshi-feed[a,b]" is not split."""
    return {re.split(r"\s*[<>=~!]", line)[0] for line in requirements.split("\n") if line}


def required(config: configparser.ConfigParser, extra: str) -> set[str]:
    """The packages of an extra, including those of the extras in it."""
    listed = names(config["options.extras_require"][extra])
    ours = {one for one in listed if one.startswith("kalshi-feed[")}
    inner = {name for one in ours for name in one.partition("[")[2].strip("]").split(",")}
    return {one.partition("[")[0] for one in listed - ours}.union(*(required(config, name) for name in inner))


def python(code: str, *arguments: str, cwd: Path = TOP) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60)


def test_what_is_imported_is_required(config: configparser.ConfigParser) -> None:
    core = names(config["options"]["install_requires"])
    used: set[str] = set()
    for found in all_imports():
        library = found.target.partition(".")[0]
        extras = [extra for part, extra in EXTRA_OF.items() if within(found.module, part)]
        if library in LIBRARIES or library == "pytest":  # the plugin runs where pytest runs
            continue
        package = PACKAGE_OF.get(library, library)
        used.add(package)
        assert package in core.union(*(required(config, extra) for extra in extras)), str(found)
    assert core <= used, f"required but not imported: {core - used}"


def test_extras_made_of_extras(config: configparser.ConfigParser) -> None:
    demo = required(config, "demo")
    assert demo == required(config, "simulator") | required(config, "cli") | required(config, "rest")
    assert demo | required(config, "flask") < required(config, "test")


def test_every_folder_is_a_package() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    assert (PACKAGE / "py.typed").exists()


def test_version_is_stated_once() -> None:
    import kalshi_feed

    try:
        installed = importlib.metadata.version("kalshi-feed")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kalshi-feed is not installed here")
    assert kalshi_feed.__version__ == installed


def test_core_imports_nothing_optional() -> None:
    result = python("import kalshi_feed, sys; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    optional = {
        "asyncio",
        "click",
        "flask",
        "prometheus_client",
        "psycopg",
        "pyarrow",
        "pytest",
        "requests",
        "rich",
        "trustme",
        "websockets",
    }
    optional.add("zstandard")
    assert optional.isdisjoint(result.stdout.split())


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_command_without_its_extra_says_which(missing: str) -> None:
    result = python(
        "import sys; sys.modules[sys.argv.pop()] = None; from kalshi_feed.cli import main; sys.exit(main())",
        "demo",
        missing,
    )
    assert result.returncode != 0
    assert "kalshi-feed[" in result.stderr
    assert "Traceback" not in result.stderr


def test_rest_without_its_extra_says_which() -> None:
    result = python("import sys; sys.modules['requests'] = None; import kalshi_feed.rest")
    assert result.returncode != 0
    assert (
        "ImportError: kalshi_feed.rest needs the package 'requests'; install kalshi-feed[rest]"
        in result.stderr
    )


@pytest.mark.parametrize("missing", ["websockets", "trustme"])
def test_pytest_plugin_without_its_extra_disturbs_no_one(missing: str, tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(
        "def test_plain(): pass\n\ndef test_exchange(kalshi_exchange): pass\n", encoding="utf-8"
    )
    result = python(
        f"import sys, pytest; sys.modules[{missing!r}] = None; sys.path.insert(0, {str(TOP)!r});"
        "sys.exit(pytest.main(['-q', '-W', 'error', '-p', 'kalshi_feed.simulator.pytest_plugin']))",
        cwd=tmp_path,
    )
    assert "1 passed, 1 error" in result.stdout, result.stdout + result.stderr
    assert "kalshi-feed[simulator]" in result.stdout


@pytest.mark.parametrize("url", ["", "https://git.example/desk/kalshi_feed"])
def test_readmes_links_are_absolute_once_there_is_an_address(tmp_path: Path, url: str) -> None:
    """In the metadata, which is what an index page shows. HEAD is the default branch, whatever its name."""
    pytest.importorskip("setuptools", reason="setuptools is not installed: the metadata cannot be made")
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(TOP / name, tmp_path)
    settings = (TOP / "setup.cfg").read_text(encoding="utf-8")
    settings = settings.replace("attr: kalshi_feed.version.__version__", "1")
    (tmp_path / "setup.cfg").write_text(settings.replace("[metadata]", f"[metadata]\nurl = {url}", 1))
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    text = (tmp_path / "kalshi_feed.egg-info" / "PKG-INFO").read_text(encoding="utf-8")
    assert "# kalshi_feed\n" in text and "Description-Content-Type: text/markdown" in text
    relative = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    if url:
        assert relative == []
        assert (
            f"]({url}/raw/HEAD/samples/pictures/watch.svg)" in text and f"]({url}/blob/HEAD/LICENSE)" in text
        )
    else:
        assert "samples/pictures/watch.svg" in relative


def test_only_systems_on_which_the_tests_run_are_claimed(config: configparser.ConfigParser) -> None:
    claimed = [line for line in config["metadata"]["classifiers"].split("\n") if "Operating System" in line]
    assert claimed == ["Operating System :: POSIX :: Linux"]
    assert "Tested on Linux only." in (TOP / "README.md").read_text(encoding="utf-8")
