"""Image encoders and decoders, one file a family, the KL autoencoder of any pair, and pixels; `layers/` has what they share."""

from .kl import KLAutoencoder
from .magvit2 import AdaptiveGroupNormDecoder, MAGVIT2Encoder
from .maskgit_vq import MaskGITDecoder, MaskGITEncoder
from .movq import MoVQDecoder
from .pixels import PixelAutoencoder
from .qformer import QFormerDecoder, QFormerEncoder
from .query_vit import QueryViTDecoder, QueryViTEncoder
from .titok import TiTokDecoder, TiTokEncoder
from .titok_heads import PatchHead, ProxyCodesHead
from .vit_vqgan import ViTVQGANDecoder, ViTVQGANEncoder
from .vitamin import ViTaminDecoder, ViTaminEncoder
from .vqgan import VQGANDecoder, VQGANEncoder

__all__ = [
    'AdaptiveGroupNormDecoder',
    'KLAutoencoder',
    'MAGVIT2Encoder',
    'MaskGITDecoder',
    'MaskGITEncoder',
    'MoVQDecoder',
    'PatchHead',
    'PixelAutoencoder',
    'ProxyCodesHead',
    'QFormerDecoder',
    'QFormerEncoder',
    'QueryViTDecoder',
    'QueryViTEncoder',
    'TiTokDecoder',
    'TiTokEncoder',
    'VQGANDecoder',
    'VQGANEncoder',
    'ViTVQGANDecoder',
    'ViTVQGANEncoder',
    'ViTaminDecoder',
    'ViTaminEncoder',
]
