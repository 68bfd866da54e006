"""The hook for PyInstaller: a frozen program gets the files of the Flask page, which are not Python."""

from __future__ import annotations

import configparser
import pkgutil
import runpy
from pathlib import Path

from tests.imports import PACKAGE


def test_C14_the_hook_brings_the_files_of_the_flask_page() -> None:
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    _, _, name = config["options.entry_points"]["pyinstaller40"].strip().partition(" = ")
    hooks = [hook for folder in pkgutil.resolve_name(name)() for hook in Path(folder).glob("hook-*.py")]
    assert [hook.name for hook in hooks] == ["hook-kalshi_feed.py"]
    page = PACKAGE / "contrib" / "flask" / "page"
    assert (page / "index.html").is_file()
    datas = runpy.run_path(str(hooks[0]))["datas"]
    assert datas == [(str(page), page.relative_to(PACKAGE.parent).as_posix())]
    assert config["options.package_data"]["kalshi_feed.contrib.flask"] == "page/*", (
        "the hook has this folder only"
    )
