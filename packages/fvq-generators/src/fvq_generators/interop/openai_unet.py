"""The keys of guided-diffusion's U-Net, which latent diffusion uses too, in diffusers' order of blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, rename

WB = r'(weight|bias)'
FIRST = 'input_blocks.0.0.weight'
RESIDUAL = {
    'in_layers.0': 'norm1',
    'in_layers.2': 'conv1',
    'emb_layers.1': 'time_emb_proj',
    'out_layers.0': 'norm2',
    'out_layers.3': 'conv2',
    'skip_connection': 'conv_shortcut',
}


@dataclass(frozen=True)
class UNetShape:
    """What the keys of a U-Net say of it.

    Attributes:
        widths: Channels of each level.
        blocks: Residual blocks of a level on the way down; on the way up there is one more.
        attends: Whether each level has attention.
        residual_sampling: Whether residual blocks change the size, not convolutions.
        scale_shift: Whether the time scales norms too.
    """

    widths: list[int]
    blocks: int
    attends: list[bool]
    residual_sampling: bool
    scale_shift: bool

    @classmethod
    def of(cls, state: Mapping[str, Tensor], source: str) -> UNetShape:
        """Read off a state dict; `source` begins messages.

        Raises:
            UserError: Another layout of keys, levels of unequal depth, or a map of the time that diffusers does not have.
        """
        if FIRST not in state or 'out.2.weight' not in state:
            raise LayoutError(f'{source}: not a U-Net in its layout: no {FIRST} or out.2.weight.')
        numbers = [int(match[1]) for key in state if (match := re.match(r'output_blocks\.(\d+)\.', key))]
        ups = {match[1] for key in state if (match := re.match(r'output_blocks\.(\d+)\.[12]\.(conv|in_layers)', key))}
        levels, outputs = len(ups) + 1, 1 + max(numbers, default=-1)
        blocks = outputs // levels - 1
        if blocks < 1 or outputs % levels:
            raise LayoutError(f'{source}: {outputs} output blocks do not make {levels} levels of equal depth.')
        starts = [1 + level * (blocks + 1) for level in range(levels)]
        emb = state['input_blocks.1.0.emb_layers.1.weight']
        widths = [len(state[f'input_blocks.{start}.0.out_layers.3.weight']) for start in starts]
        time = state['time_embed.0.weight'].shape
        if tuple(time) != (4 * widths[0], widths[0]):
            raise UserError(
                f'{source}: the time is mapped from {time[1]} to {time[0]} channels, expected from {widths[0]}, those of the '
                f'first level, to {4 * widths[0]}; such a model, as the release of 512 pixels is, cannot be read.'
            )
        return cls(
            widths,
            blocks,
            [f'input_blocks.{start}.1.norm.weight' in state for start in starts],
            any(re.match(r'output_blocks\.\d+\.[12]\.in_layers', key) for key in state),
            len(emb) == 2 * widths[0],
        )

    def arguments(self, plain: tuple[str, str], attentive: tuple[str, str]) -> dict[str, Any]:
        """Arguments of diffusers, given the names of its blocks, down and up, without and with attention."""
        down = [attentive[0] if has else plain[0] for has in self.attends]
        up = [attentive[1] if has else plain[1] for has in reversed(self.attends)]
        return dict(
            block_out_channels=self.widths,
            layers_per_block=self.blocks,
            down_block_types=down,
            up_block_types=up,
            resnet_time_scale_shift='scale_shift' if self.scale_shift else 'default',
        )

    def rules(self, attention: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """For `rename`, from their keys to those of `DiffusersUNet`; `attention` are the rules of what stands in a block."""
        rules = [
            (rf'time_embed\.0\.{WB}', r'unet.unet.time_embedding.linear_1.\1'),
            (rf'time_embed\.2\.{WB}', r'unet.unet.time_embedding.linear_2.\1'),
            (rf'input_blocks\.0\.0\.{WB}', r'unet.unet.conv_in.\1'),
            (rf'out\.0\.{WB}', r'unet.unet.conv_norm_out.\1'),
            (rf'out\.2\.{WB}', r'unet.unet.conv_out.\1'),
        ]

        def residual(theirs: str, ours: str) -> None:
            rules.extend((rf'{theirs}\.{re.escape(a)}\.{WB}', rf'unet.unet.{ours}.{b}.\1') for a, b in RESIDUAL.items())

        def attend(theirs: str, ours: str) -> None:
            rules.extend((rf'{theirs}\.{a}', rf'unet.unet.{ours}.{b}') for a, b in attention)

        def resize(theirs: str, name: str, ours: str) -> None:
            residual(theirs, ours)
            rules.append((rf'{theirs}\.{name}\.{WB}', rf'unet.unet.{ours}.conv.\1'))

        levels, each = len(self.widths), self.blocks + 1
        for level in range(levels):
            for block in range(self.blocks):
                number = 1 + level * each + block
                residual(rf'input_blocks\.{number}\.0', f'down_blocks.{level}.resnets.{block}')
                attend(rf'input_blocks\.{number}\.1', f'down_blocks.{level}.attentions.{block}')
            resize(rf'input_blocks\.{(level + 1) * each}\.0', 'op', f'down_blocks.{level}.downsamplers.0')
            for block in range(each):
                number, has = level * each + block, self.attends[levels - 1 - level]
                residual(rf'output_blocks\.{number}\.0', f'up_blocks.{level}.resnets.{block}')
                if has:
                    attend(rf'output_blocks\.{number}\.1', f'up_blocks.{level}.attentions.{block}')
                if block == self.blocks:
                    resize(rf'output_blocks\.{number}\.{1 + has}', 'conv', f'up_blocks.{level}.upsamplers.0')
        for number in (0, 2):
            residual(rf'middle_block\.{number}', f'mid_block.resnets.{number // 2}')
        attend(r'middle_block\.1', 'mid_block.attentions.0')
        return rules


def our_unet(
    state: Mapping[str, Tensor], shape: UNetShape, attention: Sequence[tuple[str, str]], source: str
) -> dict[str, Tensor]:
    """Their weights under our keys; raises for an unknown key, by name."""
    return rename(state, shape.rules(attention), source)


def check_head_width(source: str, widths: Sequence[int], head_width: int) -> None:
    """Raise unless heads of so many channels divide all that attend."""
    for width in widths:
        if head_width < 1 or width % head_width:
            raise UserError(
                f'{source}: {width} channels do not divide into heads of {head_width}; no file tells how wide heads are, give '
                'a divisor (--head-width).'
            )
