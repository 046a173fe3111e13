"""IBQ's checkpoints (`IBQ` of SEED-Voken): taming's networks around a codebook that is chosen by dot product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming import NOT_WEIGHTS
from .taming_autoencoder import import_autoencoder

CODEBOOK = 'quantize.embedding.weight'


def import_tokenizer(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from IBQ's, with the quantizer's losses as released."""
    if CODEBOOK not in state:
        raise LayoutError(f'IBQ: no {CODEBOOK}, so no codebook.')
    networks = {key: value for key, value in state.items() if key != CODEBOOK}
    config, renamed = import_autoencoder(networks, 'IBQ', NOT_WEIGHTS)
    K, D = state[CODEBOOK].shape
    config['quantizer'] = dict(
        type='VectorQuantizer',
        codebook_size=K,
        code_dim=D,
        distance=dict(type='DotProduct'),
        estimator=dict(type='IndexBackpropagation'),
        loss=dict(type='IBQLoss'),
        regularizer=dict(type='EntropyRegularizer', weight=0.05),
    )
    return dict(type=Tokenizer, **config), renamed | {'quantizer.embedding': state[CODEBOOK]}


@IMPORTERS.register_module(name='ibq')
class IBQImporter(TokenizerImporter):
    """IBQ's tokenizers."""

    read = staticmethod(import_tokenizer)
