"""Masked models of codes: MaskGIT in its three forms."""

from .maskgit import MaskGIT
from .networks import BERT, NETWORKS, ModulatedTransformer, UViT
from .settings import MaskedSampling

__all__ = ['BERT', 'NETWORKS', 'MaskGIT', 'MaskedSampling', 'ModulatedTransformer', 'UViT']
