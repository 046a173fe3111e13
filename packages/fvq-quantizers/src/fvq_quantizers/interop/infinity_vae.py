"""Infinity's tokenizers (`infinity_vae_d32_reg.pth` and any variant of their `AutoEncoder` for images)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from ..multi_scale_quantizer import MultiScaleQuantizer
from .taming_autoencoder import import_autoencoder

# The keys of taming-transformers' networks, but each convolution and norm lies in a module of its own.
WRAPPED = re.compile(r'\.(conv\w*|nin_shortcut|norm\w*)\.(?:conv|norm)\.(?=weight$|bias$)')
# Signs have no weights, only the place values of the bits: under one name in a file of their training, under both in others.
PLACE_VALUES = ('quantizer.lfq.mask', 'quantize.lfq.mask')
QUANTIZER, NETWORKS = ('quantizer.', 'quantize.'), ('encoder.', 'decoder.')
SCALES = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)  # of 1024 pixels; the first 7 are those of 256


def import_tokenizer(
    state: Mapping[str, Tensor], scales: Sequence[int] | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from Infinity's; a latent has a channel for each bit of a code.

    Args:
        scales: Sides of the scales, which no file stores; by default those of 1024 pixels, as for the released transformers.
    """
    if not any(key in state for key in PLACE_VALUES):
        raise LayoutError(f'not a tokenizer of Infinity: no {PLACE_VALUES[0]}.')
    others = [key for key in state if key.startswith(QUANTIZER) and key not in PLACE_VALUES]
    if others:
        raise UserError(
            f'Infinity: its quantizer has {others[0]}; released ones have signs and nothing that is trained.'
        )
    # What else the model holds in training (LPIPS), the release's own loader leaves out too.
    networks = {WRAPPED.sub(r'.\1.', key): value for key, value in state.items() if key.startswith(NETWORKS)}
    config, renamed = import_autoencoder(networks, 'Infinity')
    config['quantizer'] = dict(
        type='MultiScaleQuantizer',
        quantizer=dict(type='BSQ', codebook_size=2 ** config['encoder']['z_channels'], bit_labels=True),
        scales=list(scales or SCALES),
        phi_ratio=0.0,
        interpolation='bilinear',
        inputs='bilinear',
    )
    return dict(type=Tokenizer, **config), renamed


@IMPORTERS.register_module(name='infinity-vae')
class InfinityVAEImporter(TokenizerImporter):
    """Infinity's tokenizers of images."""

    read = staticmethod(import_tokenizer)

    @staticmethod
    def summary(model: Tokenizer) -> str:
        quantizer = cast(MultiScaleQuantizer, model.quantizer)
        return f'{type(model).__name__} with codes of {quantizer.code_dim} bits at {len(quantizer.scales)} scales'
