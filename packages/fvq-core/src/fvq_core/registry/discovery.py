"""Finding components: every module of a package is imported, so a new component takes one file and no list of names."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pkgutil import iter_modules


def import_submodules(package: str, leave_out: Collection[str] = (), packages: bool = True) -> None:
    """Import a package with every module in it, so that what they register is known; a plain module is just imported.

    Args:
        package: Its name; it may still be importing itself.
        leave_out: Names of modules and packages directly in it that register nothing and would take time.
        packages: Whether the packages in it are imported too.
    """
    for module in iter_modules(getattr(import_module(package), '__path__', ())):
        if module.name not in leave_out and (packages or not module.ispkg):
            import_submodules(f'{package}.{module.name}')
