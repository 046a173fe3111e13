"""Generators: models of codes and of latents.

Its classes, and what they register, are imported when one of them or their registry is first asked for, because torch takes
seconds to import and `--help` does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fvq_core.registry import (
    DATASETS,
    GENERATORS,
    HOOKS,
    IMPORTERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
)

if TYPE_CHECKING:
    from .components import *

for registry, module in (
    (GENERATORS, 'components'),
    (MODELS, 'image_generator'),
    (MODELS, 'tasks'),
    (HOOKS, 'hooks'),
    (IMPORTERS, 'interop'),
    (DATASETS, 'data'),
    (OPTIM_WRAPPERS, 'optim'),
    (OPTIM_WRAPPER_CONSTRUCTORS, 'optim'),
):
    registry.add_location(f'{__name__}.{module}')
del registry, module


def __getattr__(name: str) -> Any:
    return getattr(import_module(f'{__name__}.components'), name)
