"""Generators: models of codes. Importing the package imports its modules, which registers every generator."""

from fvq_core.registry import DATASETS, HOOKS, IMPORTERS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from fvq_core.registry.discovery import import_submodules

from .dit import DiT
from .ibq_transformer import IBQTransformer
from .large_dit import LargeDiT
from .llamagen import LlamaGen
from .mage import MAGE
from .mar import MAR
from .masked import MaskGIT
from .min_gpt import MinGPT
from .open_magvit2_transformer import OpenMAGVIT2Transformer
from .randar import RandAR
from .rar import RAR
from .rcg import RCG
from .representation_diffusion import RepresentationDiffusion
from .rq_transformer import RQTransformer
from .var import VAR
from .vitvq_transformer import ViTVQTransformer

__all__ = [
    'MAGE',
    'MAR',
    'RAR',
    'RCG',
    'VAR',
    'DiT',
    'IBQTransformer',
    'LargeDiT',
    'LlamaGen',
    'MaskGIT',
    'MinGPT',
    'OpenMAGVIT2Transformer',
    'RQTransformer',
    'RandAR',
    'RepresentationDiffusion',
    'ViTVQTransformer',
]

# What only training needs is imported when its registry is first read, as core does with its own.
for registry, module in (
    (MODELS, 'tasks'),
    (HOOKS, 'hooks'),
    (IMPORTERS, 'interop'),
    (DATASETS, 'data'),
    (OPTIM_WRAPPERS, 'optim'),
    (OPTIM_WRAPPER_CONSTRUCTORS, 'optim'),
):
    registry.add_location(f'{__name__}.{module}')
del registry, module
import_submodules(__name__, packages=False)
