"""Quantizers on the latents of a frozen autoencoder: the tokenizer that holds both, and arrangements of latents."""

from .flat_latents import FlatLatentDecoder, FlatLatentEncoder
from .latent_encoder import LatentEncoder
from .latent_tokenizer import LatentTokenizer
from .plain import AffineDecoder, IdentityEncoder

__all__ = [
    'AffineDecoder',
    'FlatLatentDecoder',
    'FlatLatentEncoder',
    'IdentityEncoder',
    'LatentEncoder',
    'LatentTokenizer',
]
