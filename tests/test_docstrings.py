"""Everything public has a docstring: the names in public modules, the methods and properties of classes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import kalshi_feed

FOLDERS = ("kalshi_feed.contrib", "kalshi_feed.sinks")  # all their modules are public


def public_modules() -> list[str]:
    names = ["kalshi_feed", "kalshi_feed.messages", "kalshi_feed.simulator"]
    for folder in FOLDERS:
        if folder.rpartition(".")[2] in {
            module.name for module in pkgutil.iter_modules(kalshi_feed.__path__)
        }:
            package = importlib.import_module(folder)
            names += [
                folder,
                *(module.name for module in pkgutil.iter_modules(package.__path__, f"{folder}.")),
            ]
    return names


def undocumented(module: ModuleType) -> Iterator[str]:
    """Names without a docstring, their own or an inherited one. Constants cannot have one."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            if not (thing.__doc__ or "").strip():
                yield name
            yield from (
                f"{name}.{member}" for member in _members(thing) if not inspect.getdoc(getattr(thing, member))
            )
        elif inspect.isroutine(thing) and not inspect.getdoc(thing):
            yield name


def _members(cls: type) -> Iterator[str]:
    """The public methods and properties that this package defines."""
    for name in dir(cls):
        if not name.startswith("_"):
            found: Any = inspect.getattr_static(cls, name)
            code = getattr(found, "fget", None) or getattr(found, "__func__", found)
            if inspect.isfunction(code) and code.__module__.startswith("kalshi_feed"):
                yield name


@pytest.mark.parametrize("module", public_modules())
def test_everything_public_is_documented(module: str) -> None:
    assert list(undocumented(importlib.import_module(module))) == []


def test_what_is_undocumented_is_found() -> None:
    module = ModuleType("kalshi_feed.module")
    code = '''
__all__ = ["Bare", "Half", "bare", "documented"]
class Bare:
    pass
class Half:
    """Documented."""
    def method(self): pass
    @property
    def value(self): pass
    @classmethod
    def made(cls): pass
    @staticmethod
    def still(): pass
    def heard(self): "Documented."
    def _private(self): pass
class Documented(Half):
    """Documented."""
def bare(): pass
def documented(): "Documented."
'''
    exec(code, module.__dict__)
    for thing in (module.Half.method, module.Half.made.__func__, module.Half.still, module.Half.value.fget):
        thing.__module__ = "kalshi_feed.module"
    assert list(undocumented(module)) == [
        "Bare",
        "Half.made",
        "Half.method",
        "Half.still",
        "Half.value",
        "bare",
    ]
