"""VAR's tokenizer (`vae_ch160v4096z32.pth` and any variant of their `VQVAE`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming_autoencoder import import_autoencoder

QUANTIZER_RULES: Rules = (
    (r'embedding\.weight', 'quantizer.embedding'),
    (r'quant_resi\.qresi\.(weight|bias)', r'phis.0.\1'),  # one for all scales
    (r'quant_resi\.(?:qresi_ls\.)?(\d+)\.(weight|bias)', r'phis.\1.\2'),
)
# How often each code was used at each scale in training, and FVQ's window of the last codes.
HITS = 'ema_vocab_hit_SV'
NOT_WEIGHTS = (HITS, r'codebook_used')
SCALE_KEYS = rf'{HITS}|codebook_used|quant_resi\.'
PREFIX = 'quantize.'
SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def import_quantizer(
    state: Mapping[str, Tensor],
    scales: Sequence[int] | None = None,
    l2_norm: bool | None = None,
    phi_ratio: float = 0.5,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our quantizer from a `VectorQuantizer2` of VAR, keys without prefix; see `import_tokenizer`."""
    if 'embedding.weight' not in state:
        raise LayoutError('VAR: not a tokenizer of VAR: no quantize.embedding.weight.')
    K, D = state['embedding.weight'].shape
    scales = list(scales or SCALES)
    if HITS in state and len(state[HITS]) != len(scales):
        raise UserError(
            f'VAR: the file has {len(state[HITS])} scales and does not store their sizes; expected as many, got {scales}; pass '
            'them (--scales).'
        )
    quantizer: dict[str, Any] = dict(type='VectorQuantizer', codebook_size=K, code_dim=D)
    if l2_norm:
        quantizer.update(normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
    renamed = rename(state, QUANTIZER_RULES, 'VAR', NOT_WEIGHTS)
    phis = {m[1] for key in renamed if (m := re.match(r'phis\.(\d+)\.', key))}
    config: dict[str, Any] = dict(type='MultiScaleQuantizer', quantizer=quantizer, scales=scales)
    config.update(dict(num_phi=len(phis), phi_ratio=phi_ratio) if phis else dict(phi_ratio=0.0))
    return config, renamed


def import_tokenizer(
    state: Mapping[str, Tensor],
    l2_norm: bool | None = None,
    scales: Sequence[int] | None = None,
    phi_ratio: float = 0.5,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from VAR's.

    Args:
        l2_norm: Whether codes are chosen by cosine (the peer's `using_znorm`), which no file stores; off in the released
            ones.
        scales: The peer's `v_patch_nums`, which no file stores; by default those of its 256-pixel models. A file with
            another number of scales needs them.
        phi_ratio: The size of the peer's `quant_resi`, which no file stores; 0.5 in the released ones.
    """
    quantizer = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    autoencoder = {key: value for key, value in state.items() if not key.startswith(PREFIX)}
    config, renamed = import_autoencoder(autoencoder, 'VAR')
    if not any(re.match(SCALE_KEYS, key) for key in quantizer):
        raise LayoutError(
            'VAR: not a tokenizer of VAR, but one with a single scale: no quantize.ema_vocab_hit_SV or quant_resi.'
        )
    quantizer_config, quantizer_state = import_quantizer(quantizer, scales, l2_norm, phi_ratio)
    renamed.update({f'quantizer.{key}': value for key, value in quantizer_state.items()})
    return dict(type=Tokenizer, **config, quantizer=quantizer_config), renamed


@IMPORTERS.register_module(name='var')
class VARImporter(TokenizerImporter):
    """VAR's multi-scale tokenizers."""

    read = staticmethod(import_tokenizer)
