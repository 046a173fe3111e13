"""Finding components: every module of a package is imported, so a new component takes one file and no list of names."""

from __future__ import annotations

import pkgutil
from importlib import import_module


def import_submodules(package: str) -> None:
    """Import every module below a package, so that what it registers is known.

    Args:
        package: Its name; it may still be importing itself.
    """
    for module in pkgutil.walk_packages(import_module(package).__path__, f'{package}.'):
        import_module(module.name)
