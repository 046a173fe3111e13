"""Finding components: every module of a package is imported, so a new component takes one file and no list of names."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pkgutil import iter_modules


def import_submodules(package: str, leave_out: Collection[str] = ()) -> None:
    """Import every module below a package, so that what it registers is known.

    Args:
        package: Its name; it may still be importing itself.
        leave_out: Names of modules and packages directly in it that register nothing and would take time.
    """
    for module in iter_modules(import_module(package).__path__):
        if module.name not in leave_out:
            import_module(f'{package}.{module.name}')
            if module.ispkg:
                import_submodules(f'{package}.{module.name}')
