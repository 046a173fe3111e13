"""MAR's released weights (`checkpoint-last.pth` of MAR-B, L and H)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .dit import our_modulation
from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules

HEADS = {768: 12, 1024: 16, 1280: 16}
SCALE = 0.2325  # of its own autoencoder
WB = r'(weight|bias)'
RES = r'diffloss\.net\.res_blocks\.(\d+)\.'
FINAL = r'diffloss\.net\.final_layer\.'
RULES: Rules = (
    (r'condition_table', 'condition.table.weight'),
    (r'z_proj\.' + WB, r'input.\1'),
    (r'z_proj_ln\.' + WB, r'input_norm.\1'),
    (r'(encoder|decoder)_pos_embed_learned', r'\1_positions'),
    (r'diffusion_pos_embed_learned', 'output_positions'),
    (r'mask_token', 'mask_token'),
    (r'decoder_embed\.' + WB, r'decoder_input.\1'),
    (r'(encoder|decoder)_norm\.' + WB, r'\1_norm.\2'),
    *timm_rules('encoder_blocks', 'encoder'),
    *timm_rules('decoder_blocks', 'decoder'),
    (r'diffloss\.net\.time_embed\.mlp\.0\.' + WB, r'head.time.inner.\1'),
    (r'diffloss\.net\.time_embed\.mlp\.2\.' + WB, r'head.time.outer.\1'),
    (r'diffloss\.net\.cond_embed\.' + WB, r'head.condition.\1'),
    (r'diffloss\.net\.input_proj\.' + WB, r'head.input.\1'),
    (RES + r'in_ln\.' + WB, r'head.blocks.\1.norm.\2'),
    (RES + r'mlp\.0\.' + WB, r'head.blocks.\1.inner.\2'),
    (RES + r'mlp\.2\.' + WB, r'head.blocks.\1.outer.\2'),
    (RES + r'adaLN_modulation\.1\.' + WB, r'head.blocks.\1.modulation.linear.\2'),
    (FINAL + r'linear\.' + WB, r'head.output.\1'),
    (FINAL + r'adaLN_modulation\.1\.' + WB, r'head.norm.modulation.linear.\1'),
)
NOT_WEIGHTS = (r'diffloss\.(train|gen)_diffusion\..*',)
SQUEEZED = ('encoder_pos_embed_learned', 'decoder_pos_embed_learned', 'diffusion_pos_embed_learned', 'mask_token')
GUIDANCE = {1024: 3.0, 1280: 3.2, 768: 2.9}  # of the published FIDs


def import_mar(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    decoder_heads: int | None = None,
    patch_size: int = 1,
    cond_dropout: float = 0.1,
    head_draws: int = 4,
    scale: float = SCALE,
    dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MAR` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        heads: Heads of the encoder, which no file holds; by default those of the published size with so many channels.
        decoder_heads: Those of the decoder; by default the encoder's.
        patch_size: Side of a token.
        cond_dropout, head_draws, dropout: Of its training; see `MAR`.
        scale: Scale of the autoencoder's latents.

    Raises:
        UserError: Another layout of keys, a latent that is not square, or heads that are not known or do not fit.
    """
    if 'diffusion_pos_embed_learned' not in state or 'diffloss.net.input_proj.weight' not in state:
        raise LayoutError(
            'MAR: not a generator in its layout: no diffusion_pos_embed_learned or diffloss.net.input_proj.weight.'
        )
    D, C = state['z_proj.weight'].shape
    W, L = state['decoder_embed.weight'].shape[0], state['diffusion_pos_embed_learned'].shape[1]
    side, channels = round(L**0.5), C // patch_size**2
    if side * side != L or channels * patch_size**2 != C:
        raise UserError(f'MAR: {L} tokens of {C} numbers are no square of patches of side {patch_size}.')
    heads = heads_of('MAR', D, heads, HEADS)
    config = dict(
        type='MAR',
        layout=dict(type='Grid', height=side * patch_size, width=side * patch_size, channels=channels, scale=scale),
        patch_size=patch_size,
        dim=D,
        depth=depth_of(state, 'encoder_blocks'),
        heads=heads,
        decoder_dim=W,
        decoder_heads=decoder_heads or heads,
        head_depth=depth_of(state, 'diffloss.net.res_blocks'),
        head_width=len(state['diffloss.net.input_proj.weight']),
        head_draws=head_draws,
        class_tokens=state['encoder_pos_embed_learned'].shape[1] - L,
        num_classes=len(state['class_emb.weight']),
        cond_dropout=cond_dropout,
        attention_dropout=dropout,
        dropout=dropout,
    )
    ours = {
        key: our_form(key, value, config['head_width'])
        for key, value in state.items()
        if key not in ('class_emb.weight', 'fake_latent')
    }
    none = [state['fake_latent']] if cond_dropout else []
    ours['condition_table'] = torch.cat([state['class_emb.weight'], *none])
    return config, rename(ours, RULES, 'MAR', NOT_WEIGHTS)


def our_form(key: str, value: Tensor, channels: int) -> Tensor:
    """A tensor without leading dimensions of 1, and with the vectors of a modulation, of that many channels, in our order."""
    if key in SQUEEZED:
        return value.squeeze(0).squeeze(0) if key == 'mask_token' else value.squeeze(0)
    return our_modulation(key, value, channels)


@IMPORTERS.register_module(name='mar')
class MARImporter(GeneratorImporter):
    """MAR's generators."""

    read = staticmethod(import_mar)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        scale = GUIDANCE.get(model.input.out_features)
        return {} if scale is None else dict(cfg_scale=scale)
