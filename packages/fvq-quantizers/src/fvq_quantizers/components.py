"""Every quantizer and every axis of one. Importing this imports the modules of the package, which registers what is in them."""

from fvq_core.registry.discovery import import_submodules

from . import distances, estimators, inits, losses, normalizations, projectors, regularizers, updates
from .fsq import FSQ
from .gumbel_quantizer import GumbelQuantizer
from .lfq import LFQ
from .multi_scale_quantizer import MultiScaleQuantizer
from .product_quantizer import ProductQuantizer
from .residual_quantizer import ResidualQuantizer
from .vector_quantizer import VectorQuantizer

__all__ = [
    'FSQ',
    'LFQ',
    'GumbelQuantizer',
    'MultiScaleQuantizer',
    'ProductQuantizer',
    'ResidualQuantizer',
    'VectorQuantizer',
    'distances',
    'estimators',
    'inits',
    'losses',
    'normalizations',
    'projectors',
    'regularizers',
    'updates',
]

import_submodules(
    'fvq_quantizers',
    leave_out=(
        'code_step_hook',
        'codebook_files',
        'commands',
        'fold_hook',
        'interop',
        'perturbation_hook',
        'run_length_hook',
        'soft_choices',
    ),
)
