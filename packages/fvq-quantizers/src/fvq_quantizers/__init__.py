"""Vector quantizers and their axes.

Its classes, and what they register, are imported when one of them or their registry is first asked for, because torch takes
seconds to import and `--help` does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fvq_core.registry import (
    CODEBOOK_INITS,
    CODEBOOK_UPDATES,
    DECODERS,
    DISTANCES,
    ENCODERS,
    ESTIMATORS,
    HOOKS,
    IMPORTERS,
    NORMALIZATIONS,
    PROJECTORS,
    QUANTIZER_LOSSES,
    QUANTIZERS,
    REGULARIZERS,
    TOKENIZERS,
)

if TYPE_CHECKING:
    from .components import *

for registry, module in (
    (QUANTIZERS, 'components'),
    (PROJECTORS, 'projectors'),
    (NORMALIZATIONS, 'normalizations'),
    (DISTANCES, 'distances'),
    (ESTIMATORS, 'estimators'),
    (QUANTIZER_LOSSES, 'losses'),
    (CODEBOOK_UPDATES, 'updates'),
    (REGULARIZERS, 'regularizers'),
    (CODEBOOK_INITS, 'inits'),
    (ENCODERS, 'frozen_latents'),
    (DECODERS, 'frozen_latents'),
    (TOKENIZERS, 'frozen_latents'),
    (HOOKS, 'code_step_hook'),
    (HOOKS, 'fold_hook'),
    (HOOKS, 'perturbation_hook'),
    (HOOKS, 'run_length_hook'),
    (IMPORTERS, 'interop'),
):
    registry.add_location(f'{__name__}.{module}')
del registry, module


def __getattr__(name: str) -> Any:
    return getattr(import_module(f'{__name__}.components'), name)
