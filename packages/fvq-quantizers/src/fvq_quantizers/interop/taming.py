"""VQGAN's checkpoints (taming-transformers' `VQModel`, `EMAVQ` and `GumbelVQ`; latent diffusion's `VQModel`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming_autoencoder import import_autoencoder

QUANTIZER_RULES: Rules = (
    (r'quantize\.embedding\.weight', 'quantizer.embedding'),
    (r'quantize\.embedding\.cluster_size', 'quantizer.update.counts_K'),
    (r'quantize\.embedding\.embed_avg', 'quantizer.update.sums_KD'),
    (r'quantize\.embed\.weight', 'quantizer.embedding'),  # Gumbel
    (r'quantize\.proj\.(weight|bias)', r'quantizer.to_logits.\1'),
)
# Discriminator and perceptual network; an average of the weights under other names; colours for segmentation maps.
NOT_WEIGHTS = (r'loss\..*', r'model_ema\..*', r'colorize')


def import_tokenizer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from VQGAN's.

    The loss is the one they were trained with, which has beta on the codebook term (`VQLoss(legacy=True)`).
    """
    quantizer_state = {key: value for key, value in state.items() if key.startswith('quantize.')}
    autoencoder = {key: value for key, value in state.items() if key not in quantizer_state}
    config, renamed = import_autoencoder(autoencoder, 'VQGAN', NOT_WEIGHTS)
    quantizer, quantizer_renamed = import_quantizer(quantizer_state)
    return dict(type=Tokenizer, **config, quantizer=quantizer), renamed | quantizer_renamed


def import_quantizer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of the quantizer, whose kind follows from the keys, all `quantize.*`."""
    renamed = rename(state, QUANTIZER_RULES, 'VQGAN')
    if 'quantizer.embedding' not in renamed:
        raise LayoutError('VQGAN: no quantize.embedding.weight or quantize.embed.weight, so no codebook.')
    K, D = renamed['quantizer.embedding'].shape
    if 'quantizer.to_logits.weight' in renamed:
        renamed['quantizer.to_logits.weight'] = renamed['quantizer.to_logits.weight'].flatten(1)  # a 1x1 convolution
        renamed['quantizer.steps'] = torch.zeros((), dtype=torch.int64)
        return dict(type='GumbelQuantizer', codebook_size=K, code_dim=D, kl_weight=1e-8), renamed
    config: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
    if 'quantizer.update.counts_K' in renamed:
        config.update(loss=dict(type='VQLoss', codebook_weight=0.0), update=dict(type='EMAUpdate'))
    else:
        config['loss'] = dict(type='VQLoss', legacy=True)
    return config, renamed


@IMPORTERS.register_module(name='taming')
class TamingImporter(TokenizerImporter):
    """VQGANs."""

    read = staticmethod(import_tokenizer)
