"""The transformers that MaskGIT's forms predict masked codes with."""

from .bert import BERT
from .modulated import ModulatedTransformer
from .network import NETWORKS, MaskedNetwork
from .uvit import UViT

__all__ = ['BERT', 'NETWORKS', 'MaskedNetwork', 'ModulatedTransformer', 'UViT']
