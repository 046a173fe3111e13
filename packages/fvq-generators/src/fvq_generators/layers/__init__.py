"""Blocks that the transformers over codes share."""

from .attention import Attention
from .caption_embedding import CaptionEmbedding
from .causal_mask import CausalMask
from .class_embedding import ClassEmbedding
from .drop_path import DropPath
from .kv_cache import KVCache
from .rms_norm import RMSNorm
from .rotary_embedding import grid_rotations, rotate, sequence_rotations, with_condition_rows
from .swiglu import SwiGLU
from .transformer_block import TransformerBlock

__all__ = [
    'Attention',
    'CaptionEmbedding',
    'CausalMask',
    'ClassEmbedding',
    'DropPath',
    'KVCache',
    'RMSNorm',
    'SwiGLU',
    'TransformerBlock',
    'grid_rotations',
    'rotate',
    'sequence_rotations',
    'with_condition_rows',
]
