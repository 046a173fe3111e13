"""Every generator. Importing this imports the modules of the package, which registers the generators in them."""

from fvq_core.registry.discovery import import_submodules

from .bar import BAR
from .cascade import Cascade
from .dit import DiT
from .ibq_transformer import IBQTransformer
from .infinity import Infinity
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
from .unet_diffusion import UNetDiffusion
from .var import VAR
from .vitvq_transformer import ViTVQTransformer

__all__ = [
    'BAR',
    'MAGE',
    'MAR',
    'RAR',
    'RCG',
    'VAR',
    'Cascade',
    'DiT',
    'IBQTransformer',
    'Infinity',
    'LargeDiT',
    'LlamaGen',
    'MaskGIT',
    'MinGPT',
    'OpenMAGVIT2Transformer',
    'RQTransformer',
    'RandAR',
    'RepresentationDiffusion',
    'UNetDiffusion',
    'ViTVQTransformer',
]

import_submodules('fvq_generators', packages=False)
