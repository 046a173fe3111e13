"""OptVQ's checkpoints: the files on the Hugging Face hub, whose keys start with `model.`, and those of its trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.interop.importer import TokenizerImporter
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS
from fvq_core.tokenizer import Tokenizer

from .taming import NOT_WEIGHTS
from .taming_autoencoder import import_autoencoder

CODEBOOK = 'quantize.embedding.weight'


def quantizer_rules(prefix: str) -> Rules:
    """Rules for the keys below `quantize.`, with what our quantizer's names start with."""
    return ((r'embedding\.weight', f'{prefix}embedding'), (r'proj\.(weight|bias)', rf'{prefix}projector.map.\1'))


def import_quantizer(
    state: Mapping[str, Tensor], latent_dim: int, transport: bool | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of the quantizer from keys without `quantize.`; as many heads as latents are wider than codes.

    Args:
        transport: See `import_tokenizer`.
    """
    K, D = state['embedding.weight'].shape
    if latent_dim % D:
        raise LayoutError(f'OptVQ: a latent of {latent_dim} channels is not a multiple of codes of {D}.')
    heads = latent_dim // D
    config: dict[str, Any] = dict(
        type='VectorQuantizer',
        codebook_size=K,
        code_dim=D,
        loss=dict(type='VQLoss', legacy=True),
        distance=dict(type='OptimalTransport', **(dict(at_inference=True) if transport else {})),
    )
    if 'proj.weight' in state:
        config['projector'] = dict(type='LinearProjector', std=D**-0.5)
    if heads == 1:
        return config, rename(state, quantizer_rules(''), 'OptVQ')
    config = dict(type='ProductQuantizer', quantizer=config, groups=heads, shared=True)
    return config, rename(state, quantizer_rules('quantizers.0.'), 'OptVQ')


def import_tokenizer(
    state: Mapping[str, Tensor], transport: bool | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our tokenizer from OptVQ's.

    Args:
        transport: Assign codes by optimal transport over the batch in evaluation too, as the released code does; by default
            each latent gets the nearest code.
    """
    if CODEBOOK not in state:
        raise LayoutError(f'OptVQ: no {CODEBOOK}, so no codebook.')
    inner = {key.removeprefix('quantize.'): value for key, value in state.items() if key.startswith('quantize.')}
    autoencoder = {key: value for key, value in state.items() if not key.startswith('quantize.')}
    config, renamed = import_autoencoder(autoencoder, 'OptVQ', NOT_WEIGHTS)
    latent = autoencoder['quant_conv.weight' if config['quant_kernel'] else 'encoder.conv_out.weight']
    config['quantizer'], quantizer = import_quantizer(inner, len(latent), transport)
    return dict(type=Tokenizer, **config), renamed | {f'quantizer.{key}': value for key, value in quantizer.items()}


@IMPORTERS.register_module(name='optvq')
class OptVQImporter(TokenizerImporter):
    """OptVQ's tokenizers."""

    read = staticmethod(import_tokenizer)
