"""ADM's released weights (`256x256_diffusion.pt` and others of guided-diffusion that are conditioned on the class)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import PixelAutoencoder
from fvq_core.generator import Generator
from fvq_core.interop.key_map import LayoutError
from fvq_core.registry import IMPORTERS, TOKENIZERS

from ..fingerprint import tokenizer_hash
from ..pretrained import save_generator
from .generator_importer import GeneratorImporter
from .openai_unet import WB, UNetShape, check_head_width, our_unet

ATTENTION = (
    (rf'norm\.{WB}', r'group_norm.\1'),
    (rf'(q|k|v)\.{WB}', r'to_\1.\2'),
    (rf'proj_out\.{WB}', r'to_out.0.\1'),
)


def import_adm(
    state: Mapping[str, Tensor], grid: tuple[int, int] = (256, 256), head_width: int = 64
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `UNetDiffusion` from a state dict of theirs.

    The rows of their maps to queries, keys and values lie head by head, and in ours each of the three is a map of its own.

    Args:
        state: The peer's state dict.
        grid: Rows and columns of an image, which no file holds.
        head_width: Channels of a head, likewise; 64 in all released models but those of 128 pixels.

    Raises:
        UserError: Another layout of keys, or heads that do not fit.
    """
    shape = UNetShape.of(state, 'ADM')
    if 'label_emb.weight' not in state or not any(key.endswith('.qkv.weight') for key in state):
        raise LayoutError('ADM: no label_emb.weight or qkv.weight; only models of classes can be read.')
    check_head_width('ADM', [width for width, has in zip(shape.widths, shape.attends, strict=True) if has], head_width)
    ours = {}
    for key, value in state.items():
        name, _, kind = key.rpartition('.')
        if name.endswith('.qkv'):
            rows = value.flatten(1) if kind == 'weight' else value
            parts = rows.unflatten(0, (-1, 3, head_width)).transpose(0, 1).flatten(1, 2)
            ours |= {f'{name[:-3]}{part}.{kind}': parts[number].contiguous() for number, part in enumerate('qkv')}
        elif name.endswith('.proj_out'):
            ours[key] = value.flatten(1) if kind == 'weight' else value
        elif key != 'label_emb.weight':
            ours[key] = value
    channels = state['out.2.weight'].shape[0]
    C = state['input_blocks.0.0.weight'].shape[1]
    sampling = 'resnet' if shape.residual_sampling else 'conv'
    plain = (
        ('ResnetDownsampleBlock2D', 'ResnetUpsampleBlock2D')
        if shape.residual_sampling
        else ('DownBlock2D', 'UpBlock2D')
    )
    config = dict(
        type='UNetDiffusion',
        layout=dict(type='Grid', height=grid[0], width=grid[1], channels=C),
        unet='UNet2DModel',
        arguments=dict(
            shape.arguments(plain, ('AttnDownBlock2D', 'AttnUpBlock2D')),
            downsample_type=sampling,
            upsample_type=sampling,
            attention_head_dim=head_width,
            attn_norm_num_groups=32,
        ),
        num_classes=len(state['label_emb.weight']),
        learned_variance=channels == 2 * C,
        clip=True,
    )
    return config, {'condition.table.weight': state['label_emb.weight'], **our_unet(ours, shape, ATTENTION, 'ADM')}


@IMPORTERS.register_module(name='adm')
class ADMImporter(GeneratorImporter):
    """ADM's generators of pixels."""

    read = staticmethod(import_adm)

    @classmethod
    def save(cls, model: Generator, folder: Any, facts: Mapping[str, Any]) -> None:
        pixels = tokenizer_hash(TOKENIZERS.build(dict(type=PixelAutoencoder)))
        save_generator(model, model.state_dict(), folder, tokenizer_hash=pixels, extra=facts)
