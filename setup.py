"""setup.cfg says everything but the long description, which is README.md.

An index page has no files next to it, so relative links and pictures lead nowhere there. As soon as setup.cfg
names a project ``url``, they become absolute.
"""

import configparser
import re
from pathlib import Path

from setuptools import setup


def long_description(top: Path) -> str:
    """README.md, with its relative links made absolute if setup.cfg has a ``url``."""
    config = configparser.ConfigParser()
    config.read(top / "setup.cfg", encoding="utf-8")
    readme, url = (top / "README.md").read_text(encoding="utf-8"), config["metadata"].get("url")
    if url:
        readme = re.sub(r"(!\[[^]]*\]\()(?![a-z]+:|#)", rf"\1{url}/raw/HEAD/", readme)
        readme = re.sub(r"((?<!!)\[[^]]*\]\()(?![a-z]+:|#)", rf"\1{url}/blob/HEAD/", readme)
    return readme


if __name__ == "__main__":
    setup(long_description=long_description(Path(__file__).parent))
