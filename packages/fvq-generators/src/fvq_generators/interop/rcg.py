"""RCG's released weights: its representation diffusion (RDM) and its MAGE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.key_map import LayoutError, Rules, rename
from fvq_core.registry import IMPORTERS

from .generator_importer import GeneratorImporter, depth_of, heads_of, timm_rules

WB = r'(weight|bias)'
MLP = r'model\.diffusion_model\.'
RES = MLP + r'res_blocks\.(\d+)\.'
RDM_RULES: Rules = (
    (MLP + r'input_proj\.' + WB, r'input.\1'),
    (MLP + r'time_embed\.0\.' + WB, r'time.inner.\1'),
    (MLP + r'time_embed\.2\.' + WB, r'time.outer.\1'),
    (RES + r'in_layers\.0\.' + WB, r'blocks.\1.norm.\2'),
    (RES + r'in_layers\.2\.' + WB, r'blocks.\1.inner.\2'),
    (RES + r'emb_layers\.1\.' + WB, r'blocks.\1.time.\2'),
    (RES + r'context_layers\.1\.' + WB, r'blocks.\1.condition.\2'),
    (RES + r'out_layers\.0\.' + WB, r'blocks.\1.outer_norm.\2'),
    (RES + r'out_layers\.3\.' + WB, r'blocks.\1.outer.\2'),
    (MLP + r'out\.0\.' + WB, r'norm.\1'),
    (MLP + r'out\.2\.' + WB, r'output.\1'),
    (r'cond_stage_model\.embedding\.weight', 'condition.table.weight'),
)
# Tables of the process, the frozen encoder, and averages, which are read in place of the weights.
RDM_NOT_WEIGHTS = (
    r'(betas|logvar|scale_factor|cond_ids|.*alphas_cumprod.*|posterior_.*|lvlb_weights)',
    r'(pretrained_encoder|model_ema)\..*',
)
UNCONDITIONAL = r'cond_stage_model\..*'  # which stands in the file, and no block looks at

MAGE_RULES: Rules = (
    (r'codes', 'codes.table.weight'),
    (r'token_emb\.position_embeddings\.weight', 'positions'),
    (r'token_emb\.LayerNorm\.' + WB, r'norm.\1'),
    (r'latent_prior_proj\.' + WB, r'condition.project.\1'),
    (r'fake_latent', 'condition.none'),
    (r'decoder_pos_embed_learned', 'decoder_positions'),
    (r'decoder_embed\.' + WB, r'decoder_input.\1'),
    (r'norm\.' + WB, r'encoder_norm.\1'),
    (r'decoder_norm\.' + WB, r'decoder_norm.\1'),
    *timm_rules('blocks', 'encoder'),
    *timm_rules('decoder_blocks', 'decoder'),
    (r'mlm_layer\.fc\.' + WB, r'transform.\1'),
    (r'mlm_layer\.ln\.' + WB, r'transform_norm.\1'),
    (r'mlm_layer\.bias', 'head_bias'),
)
# Of masked autoencoders of pixels, from which the code stems, and what it freezes.
MAGE_NOT_WEIGHTS = (
    r'cls_token|mask_token|pos_embed|decoder_pos_embed|token_emb\.position_ids',
    r'(patch_embed|decoder_pred|vqgan|pretrained_encoder|rdm_sampler)\..*',
)
WORDS = 'token_emb.word_embeddings.weight'
CLASSES = 1000  # rows of its vocabulary that nothing reads
HEADS, DECODER_HEADS = {768: 12, 1024: 16, 1280: 16}, {768: 16, 1024: 16, 1280: 16}
TEMPERATURES = {1024: 11.0}  # of the published FIDs


def import_rdm(state: Mapping[str, Tensor], steps: int = 1000) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `RepresentationDiffusion` from a state dict of theirs.

    Args:
        state: The peer's state dict.
        steps: Steps of its process.

    Raises:
        UserError: Another layout of keys.
    """
    first, block = 'model.diffusion_model.input_proj.weight', 'model.diffusion_model.res_blocks.0.'
    if first not in state or f'{block}in_layers.2.weight' not in state:
        raise LayoutError(
            'RCG: not a representation diffusion model in its layout: no diffusion_model with res_blocks.'
        )
    D, C = state[first].shape
    classes = f'{block}context_layers.1.weight' in state
    table_KC = state.get('cond_stage_model.embedding.weight')
    if classes and table_KC is None:
        raise UserError('RCG: its blocks look at classes, and the file has no cond_stage_model.embedding.weight.')
    config = dict(
        type='RepresentationDiffusion',
        layout=dict(type='Sequence', length=1, channels=C, scale=1.0, shift=0.0),
        dim=D,
        width=len(state[f'{block}in_layers.2.weight']),
        depth=depth_of(state, 'model.diffusion_model.res_blocks'),
        time_dim=len(state['model.diffusion_model.time_embed.0.weight']),
        num_classes=None,
        steps=steps,
    )
    if classes and table_KC is not None:
        config |= dict(num_classes=len(table_KC), class_dim=table_KC.shape[1])
    drop = RDM_NOT_WEIGHTS if classes else (*RDM_NOT_WEIGHTS, UNCONDITIONAL)
    return config, rename(state, RDM_RULES, 'RCG', drop)


def import_mage(
    state: Mapping[str, Tensor],
    heads: int | None = None,
    decoder_heads: int | None = None,
    cond_dropout: float = 0.1,
    least_masked: float = 0.5,
    masked_mean: float = 0.75,
    masked_std: float = 0.25,
    dropout: float = 0.1,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and state dict of our `MAGE` from a state dict of theirs that has learned representations.

    Args:
        state: The peer's state dict.
        heads: Heads of the encoder, which no file holds; by default those of the published size with so many channels.
        decoder_heads: Those of the decoder, likewise.
        cond_dropout, least_masked, masked_mean, masked_std, dropout: Of its training; see `MAGE`.

    Raises:
        UserError: Another layout of keys, a MAGE without representations, an image that is not square, or heads that are not
            known or do not fit.
    """
    if WORDS not in state or 'mlm_layer.bias' not in state:
        raise LayoutError(f'RCG: not a MAGE in its layout: no {WORDS} or mlm_layer.bias.')
    if 'latent_prior_proj.weight' not in state:
        raise LayoutError(
            'RCG: this MAGE looks at no representation (no latent_prior_proj); nothing of ours is like it.'
        )
    words_VD, positions_TD = state[WORDS], state['token_emb.position_embeddings.weight']
    K, L = len(words_VD) - CLASSES - 1, len(positions_TD) - 1
    side = round(L**0.5)
    if side * side != L or K < 1:
        raise UserError(
            f'RCG: {L} positions and {len(words_VD)} words are no square image of codes and {CLASSES} classes.'
        )
    D, W = words_VD.shape[1], len(state['decoder_embed.weight'])
    config = dict(
        type='MAGE',
        layout=dict(type='Grid', height=side, width=side, codebook_size=K),
        channels=state['latent_prior_proj.weight'].shape[1],
        dim=D,
        depth=depth_of(state, 'blocks'),
        heads=heads_of('MAGE', D, heads, HEADS),
        decoder_dim=W,
        decoder_depth=depth_of(state, 'decoder_blocks'),
        decoder_heads=heads_of('MAGE', W, decoder_heads, DECODER_HEADS),
        mlp_ratio=len(state['blocks.0.mlp.fc1.weight']) / D,
        cond_dropout=cond_dropout,
        least_masked=least_masked,
        masked_mean=masked_mean,
        masked_std=masked_std,
        attention_dropout=dropout,
        dropout=dropout,
    )
    ours = {key: value for key, value in state.items() if key != WORDS and (cond_dropout or key != 'fake_latent')}
    ours |= {
        'codes': torch.cat([words_VD[:K], words_VD[-1:]]),
        'token_emb.position_embeddings.weight': positions_TD[1:],
        'decoder_pos_embed_learned': state['decoder_pos_embed_learned'][0],
        'mlm_layer.bias': state['mlm_layer.bias'][0, 0, :K],
    }
    if cond_dropout:
        ours['fake_latent'] = state['fake_latent'][0]
    return config, rename(ours, MAGE_RULES, 'RCG', MAGE_NOT_WEIGHTS)


@IMPORTERS.register_module(name='rcg-rdm')
class RDMImporter(GeneratorImporter):
    """RCG's representation diffusion."""

    read = staticmethod(import_rdm)


@IMPORTERS.register_module(name='rcg-mage')
class MAGEImporter(GeneratorImporter):
    """RCG's MAGE."""

    read = staticmethod(import_mage)

    @staticmethod
    def sampling(model: Any) -> dict[str, Any]:
        """Those of the published FID, by channels."""
        temperature = TEMPERATURES.get(model.norm.normalized_shape[0])
        return {} if temperature is None else dict(choice_temperature=temperature)
