"""Blocks that the transformers over codes share."""

from .ada_layer_norm import AdaLayerNorm, AdaLNBlock, Modulation, SharedModulation, modulate
from .attention import Attention
from .bidirectional_attention import BidirectionalAttention
from .cached_ada_ln_block import CachedAdaLNBlock, normalize_with
from .caption_embedding import CaptionEmbedding
from .causal_mask import CausalMask
from .class_embedding import ClassEmbedding, Classes, ConditionEmbedding, Unconditional
from .code_parts import join_code, split_code
from .cosine_attention import CosineAttention
from .cross_attention import CrossAttention, CrossAttentionBlock, Text
from .drop_path import DropPath
from .gpt_block import GPTBlock, SquaredReLU
from .kv_cache import KVCache
from .linear import Linear
from .mlp import MLP
from .rms_norm import RMSNorm
from .rotary_embedding import grid_rotations, positions_table, rotate, sequence_rotations, with_condition_rows
from .stack_classifier import StackClassifier
from .stack_embedding import StackEmbedding
from .swiglu import SwiGLU
from .text_embedding import TextEmbedding
from .time_embedding import TimeEmbedding, time_features
from .token_embedding import TokenEmbedding
from .transformer_block import TransformerBlock
from .xavier import init_xavier

__all__ = [
    'MLP',
    'AdaLNBlock',
    'AdaLayerNorm',
    'Attention',
    'BidirectionalAttention',
    'CachedAdaLNBlock',
    'CaptionEmbedding',
    'CausalMask',
    'ClassEmbedding',
    'Classes',
    'ConditionEmbedding',
    'CosineAttention',
    'CrossAttention',
    'CrossAttentionBlock',
    'DropPath',
    'GPTBlock',
    'KVCache',
    'Linear',
    'Modulation',
    'RMSNorm',
    'SharedModulation',
    'SquaredReLU',
    'StackClassifier',
    'StackEmbedding',
    'SwiGLU',
    'Text',
    'TextEmbedding',
    'TimeEmbedding',
    'TokenEmbedding',
    'TransformerBlock',
    'Unconditional',
    'grid_rotations',
    'init_xavier',
    'join_code',
    'modulate',
    'normalize_with',
    'positions_table',
    'rotate',
    'sequence_rotations',
    'split_code',
    'time_features',
    'with_condition_rows',
]
