"""RQ-VAE's tokenizer (kakaobrain/rq-vae-transformer, `RQVAE`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming_autoencoder import import_autoencoder

CODEBOOK_RULES: Rules = (
    (r'quantizer\.codebooks\.(\d+)\.weight', r'quantizer.quantizers.\1.embedding'),
    (r'quantizer\.codebooks\.(\d+)\.cluster_size_ema', r'quantizer.quantizers.\1.update.counts_K'),
    (r'quantizer\.codebooks\.(\d+)\.embed_ema', r'quantizer.quantizers.\1.update.sums_KD'),
)


def import_tokenizer(
    state: Mapping[str, Tensor], space_to_depth: Sequence[int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from RQ-VAE's.

    The file repeats a shared codebook for each depth; codebooks count as shared if all are equal.

    Args:
        space_to_depth: (rows, columns) of the latent that one code covers, which no file stores; by default the square
            that fits the width of the codes.
    """
    codebooks = {key: value for key, value in state.items() if key.startswith('quantizer.codebooks.')}
    autoencoder = {key: value for key, value in state.items() if key not in codebooks}
    config, renamed = import_autoencoder(autoencoder, 'RQ-VAE')
    depth = 1 + max(
        (int(m[1]) for key in codebooks if (m := re.match(r'quantizer\.codebooks\.(\d+)\.', key))), default=-1
    )
    if not depth:
        raise LayoutError('RQ-VAE: not a tokenizer of RQ-VAE: no quantizer.codebooks.0.weight.')
    # The last row of each codebook is zeros, for padding shorter stacks of codes.
    codebooks = {key: value[:-1] if key.endswith('.weight') else value for key, value in codebooks.items()}
    embeddings = [codebooks[f'quantizer.codebooks.{d}.weight'] for d in range(depth)]
    shared = all(torch.equal(embeddings[0], other) for other in embeddings[1:])
    if shared:
        codebooks = {key: value for key, value in codebooks.items() if key.startswith('quantizer.codebooks.0.')}
    renamed.update(rename(codebooks, CODEBOOK_RULES, 'RQ-VAE'))
    sizes = [len(each) for each in embeddings]
    D, joined = state['post_quant_conv.weight'].shape[1], embeddings[0].shape[1]
    if space_to_depth is None:
        space_to_depth = [math.isqrt(joined // D)] * 2
    quantizer: dict[str, Any] = dict(
        type='VectorQuantizer', codebook_size=sizes[0], code_dim=joined, loss=dict(type='VQLoss', codebook_weight=0.0)
    )
    if any(key.endswith('.cluster_size_ema') for key in codebooks):
        quantizer['update'] = dict(type='EMAUpdate', restart=True, start_count=0.0)
    wrapper: dict[str, Any] = dict(type='ResidualQuantizer', quantizer=quantizer, depth=depth, shared=shared)
    if len(set(sizes)) > 1:
        wrapper['codebook_sizes'] = sizes
    if joined != D:
        wrapper['space_to_depth'] = list(space_to_depth)
    if min(space_to_depth) < 1 or math.prod(space_to_depth) * D != joined:
        raise UserError(
            f'RQ-VAE: codes of {joined} channels cover several latents of {D}, but not {space_to_depth[0]}x'
            f'{space_to_depth[1]} of them; pass the rows and columns (space_to_depth).'
        )
    return dict(type=Tokenizer, **config, quantizer=wrapper), renamed


@IMPORTERS.register_module(name='rqvae')
class RQVAEImporter(TokenizerImporter):
    """RQ-VAEs."""

    read = staticmethod(import_tokenizer)
