"""ADM's released weights (`256x256_diffusion.pt` and `64x64_diffusion.pt` of guided-diffusion), conditioned on the class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fvq_core.autoencoders import PixelAutoencoder
from fvq_core.errors import UserError
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
HEAD_WIDTH = 64  # of the released models, but for that of 128 pixels
# What no file tells of the released models, by the channels of their levels: side of an image, noise schedule, and whether
# queries, keys and values are split before heads are.
RELEASED: dict[tuple[int, ...], tuple[int, str, bool]] = {
    (192, 384, 576, 768): (64, 'cosine', True),
    (256, 256, 512, 512, 1024, 1024): (256, 'linear', False),
}
FOUR_HEADS = (256, 256, 512, 768, 1024)  # of the release of 128 pixels


def import_adm(
    state: Mapping[str, Tensor],
    grid: tuple[int, int] | None = None,
    head_width: int | None = None,
    noise_schedule: str | None = None,
    new_attention_order: bool | None = None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `UNetDiffusion` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        grid: Rows and columns of an image. No file holds them, nor the options below; by default they are those of the
            release with such levels. Another model needs `grid` and `head_width`.
        head_width: Channels of a head.
        noise_schedule: Of the process: `'linear'`, or `'cosine'` of 64 pixels.
        new_attention_order: Whether the rows of a map to queries, keys and values are all queries first, as in the model of
            64 pixels, and not those of one head after the other. In ours each of the three is a map of its own.

    Raises:
        UserError: Another layout of keys, heads that do not fit, or a model that no U-Net of diffusers is equal to.
    """
    shape = UNetShape.of(state, 'ADM')
    if 'label_emb.weight' not in state or not any(key.endswith('.qkv.weight') for key in state):
        raise LayoutError('ADM: no label_emb.weight or qkv.weight; only models of classes can be read.')
    channels, C = len(state['out.2.weight']), state['input_blocks.0.0.weight'].shape[1]
    if C != 3 or channels not in (C, 2 * C):
        raise UserError(
            f'ADM: a network from {C} to {channels} channels; expected from 3 to 3 or 6. Upsamplers, which see two images, '
            'cannot be read.'
        )
    widths = tuple(shape.widths)
    if widths == FOUR_HEADS and head_width is None:
        raise UserError(
            'ADM: the release of 128 pixels has four heads in each level, and the U-Net of diffusers has heads of one width; '
            'it cannot be read. Of a model that you trained with these levels, give --head-width.'
        )
    if widths not in RELEASED and (grid is None or head_width is None):
        raise UserError(
            f'ADM: none of the released models has levels of {list(widths)} channels, and no file tells its size or heads; '
            'give --grid and --head-width.'
        )
    side, schedule, split_first = RELEASED.get(widths, (0, 'linear', False))
    grid, head_width = grid or (side, side), HEAD_WIDTH if head_width is None else head_width
    split_first = split_first if new_attention_order is None else new_attention_order
    check_head_width('ADM', [width for width, has in zip(shape.widths, shape.attends, strict=True) if has], head_width)
    ours = {}
    for key, value in state.items():
        name, _, kind = key.rpartition('.')
        if name.endswith('.qkv'):
            rows = value.flatten(1) if kind == 'weight' else value
            if split_first:
                parts = rows.unflatten(0, (3, -1))
            else:
                parts = rows.unflatten(0, (-1, 3, head_width)).transpose(0, 1).flatten(1, 2)
            ours |= {f'{name[:-3]}{part}.{kind}': parts[number].contiguous() for number, part in enumerate('qkv')}
        elif name.endswith('.proj_out'):
            ours[key] = value.flatten(1) if kind == 'weight' else value
        elif key != 'label_emb.weight':
            ours[key] = value
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
        schedule=noise_schedule or schedule,
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
