"""UniTok, imported as `tools/convert.py` does. What it has for text alone is computed here: ours is for images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.autoencoders.layers.attention_projection import AttentionProjection
from fvq_core.autoencoders.layers.tokens import to_tokens
from fvq_core.codes import Codes
from fvq_core.interop.key_map import Rules, rename
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import QUANTIZERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.interop.unitok import NOT_IMAGES, RULES, STATISTICS, import_tokenizer, stages

from ..case import Case
from .gradients import peer_gradient

REST = ('clip_image_features', 'clip_text_features', 'logit_scale', 'g:projection.')  # of the text tower's side


def inner(options: dict[str, Any], entropy: bool, **more: Any) -> dict[str, Any]:
    """A sub-codebook, with the entropy term at weight 1, as the peer returns it."""
    regularizer = dict(type='EntropyRegularizer', weight=1.0, temperature=options.get('e_temp', 0.01), eps=1e-7)
    loss = dict(type='VQLoss', beta=options.get('vq_beta', 0.25))
    return dict(loss=loss, **(dict(regularizer=regularizer) if entropy else {}), **more)


def results(quantizer: Quantizer, out: QuantizerOutput) -> dict[str, Tensor]:
    """Losses, codes (B, codebooks, L) and the usage of this batch."""
    losses = out.losses
    groups = len(out.codes.layout.vocabularies)
    indices_BGL = out.codes.indices_BL.unflatten(1, (-1, groups)).transpose(1, 2)
    chosen_GK = shares(indices_BGL, out.codes.layout.vocab_size)
    return {
        'indices': indices_BGL,
        'vq_loss': losses['commitment'] + losses['codebook'],
        'entropy_loss': losses.get('entropy', torch.zeros(())),
        'usage': 100 * (chosen_GK > 0.01 / chosen_GK.shape[1]).float().mean(),
        'f_hat': tokens(quantizer.embed(out.codes)),
    }


def shares(indices_BGL: Tensor, codebook_size: int) -> Tensor:
    """The share of each code among the choices of its codebook, (G, K)."""
    counts_GK = torch.stack(
        [group.bincount(minlength=codebook_size) for group in indices_BGL.transpose(0, 1).flatten(1)]
    )
    return counts_GK / counts_GK.sum(1, keepdim=True)


def tokens(z: Tensor) -> Tensor:
    """(B, D, H, W) or (B, D, L) to (B, L, D)."""
    return to_tokens(z) if z.dim() == 4 else z.transpose(1, 2)


def clipped(case: Case, tokenizer: Tokenizer, codes: Codes) -> Tensor:
    """The decoded images, of which some cases store only the first."""
    return tokenizer.decode(codes).clamp(-1, 1)[: len(case.outputs.get('rec_from_idx', codes))]


def with_gradients(case: Case, module: nn.Module, rules: Rules, got: dict[str, Tensor]) -> dict[str, Tensor]:
    for name in case.outputs:
        if name.startswith('g:') and not name.startswith(REST):
            key = name.removeprefix('g:')
            got[name] = peer_gradient(module, lambda one: rename(one, rules, case.name), key, case.state[key])
    return got


def build(case: Case) -> tuple[Tokenizer, Rules]:
    options = case.constructor
    config, state = import_tokenizer(case.state, causal=options.get('causal', False))
    config['quantizer']['quantizer'] |= inner(options, options['le'] > 0)
    tokenizer: Tokenizer = TOKENIZERS.build(config)
    load_weights(tokenizer, state, case.name)
    _, counted = stages(case.state)
    return tokenizer.train(), (*counted, *RULES)  # the peer has losses in eval too


def vqvae(case: Case) -> dict[str, Tensor]:
    tokenizer, rules = build(case)
    f = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(f)
    rec = tokenizer.decode_latent(quantized.z_q_BDHW)
    got = {'f': tokens(f), 'rec': rec, **results(tokenizer.quantizer, quantized)}
    got['rec_from_idx'] = clipped(case, tokenizer, quantized.codes)
    if 'grad_rec' not in case.inputs:
        return got
    got['scalar'] = (
        (rec * case.inputs['grad_rec']).sum() + got['vq_loss'] + case.constructor['le'] * got['entropy_loss']
    )
    got['scalar'].backward()
    return with_gradients(case, tokenizer, rules, got)


def model(case: Case) -> dict[str, Tensor]:
    tokenizer, rules = build(case)
    hidden: list[Tensor] = []
    tokenizer.encoder.norm.register_forward_hook(lambda module, args, out: hidden.append(out))
    projected: list[Tensor] = []
    tokenizer.decoder.projection.register_forward_hook(lambda module, args, out: projected.append(out))
    f = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(f)
    rec = tokenizer.decode_latent(quantized.z_q_BDHW)
    state = case.state | {
        key: value.clone().requires_grad_() for key, value in case.state.items() if 'projection.' in key
    }
    image_features = F.normalize(pooled(state, projected[0].mean(1)), dim=-1)
    got = {
        'h': hidden[0][: len(case.outputs.get('h', hidden[0]))],
        'f': tokens(f),
        'rec': rec,
        'clip_image_features': image_features,
        'clip_text_features': F.normalize(text_features(case), dim=-1),
        'logit_scale': case.state['logit_scale'].exp(),
        'rec_from_idx': clipped(case, tokenizer, quantized.codes),
        **results(tokenizer.quantizer, quantized),
    }
    if 'grad_rec' not in case.inputs:
        return got
    scalar = (rec * case.inputs['grad_rec']).sum() + (image_features * case.inputs['grad_clip']).sum()
    got['scalar'] = scalar + got['vq_loss'] + case.constructor['le'] * got['entropy_loss']
    got['scalar'].backward()
    with_gradients(case, tokenizer, rules, got)
    for name in case.outputs:
        if name.startswith('g:projection.'):
            got[name] = state[name.removeprefix('g:')].grad
    return got


def pooled(state: dict[str, Tensor], mean_BC: Tensor) -> Tensor:
    """What the contrastive loss sees of an image."""
    normed = F.layer_norm(mean_BC, mean_BC.shape[1:], state['fc_norm.weight'], state['fc_norm.bias'], 1e-6)
    return F.linear(normed, state['projection.weight'], state['projection.bias'])


def text_features(case: Case) -> Tensor:
    """CLIP's text tower, from torch's own layers: (B, embed_dim)."""
    options, prefix = case.constructor, 'text_encoder.'
    state = {key.removeprefix(prefix): value for key, value in case.state.items() if key.startswith(prefix)}
    width, text = options['text_width'], case.inputs['text']
    x = state['token_embedding.weight'][text] + state['positional_embedding'][: text.shape[1]]
    causal = nn.Transformer.generate_square_subsequent_mask(text.shape[1])
    for number in range(options['text_layers']):
        layer = nn.TransformerEncoderLayer(
            width, options['text_heads'], 4 * width, dropout=0.0, activation='gelu', batch_first=True, norm_first=True
        )
        own = f'transformer.resblocks.{number}.'
        block = {key.removeprefix(own): value for key, value in state.items() if key.startswith(own)}
        names = {'ln_1': 'norm1', 'ln_2': 'norm2', 'mlp.c_fc': 'linear1', 'mlp.c_proj': 'linear2', 'attn': 'self_attn'}
        rules = [(rf'{theirs}\.(.*)', rf'{ours}.\1') for theirs, ours in names.items()]
        rules.append((r'attn\.(in_proj_\w+)', r'self_attn.\1'))
        load_weights(layer, rename(block, rules, case.name), case.name)
        x = layer(x, causal)
    x = F.layer_norm(x, (width,), state['ln_final.weight'], state['ln_final.bias'])
    return x[torch.arange(len(x)), text.argmax(-1)] @ state['text_projection']


def quantizer(case: Case) -> dict[str, Tensor]:
    """The multi-codebook quantizer, between the two attention projections where the case has them."""
    options, x = case.constructor, case.inputs['x'].clone().requires_grad_()
    wide, narrow, groups = options['embed_dim'], options['vocab_width'], options['num_codebooks']
    down, up = (AttentionProjection(*sides, options['heads']) for sides in ((wide, narrow), (narrow, wide)))
    config = dict(type='VectorQuantizer', codebook_size=options['vocab_size'] // groups, code_dim=narrow // groups)
    sub = inner(
        dict(vq_beta=options['beta'], e_temp=options['entropy_temp']),
        options['use_entropy_loss'],
        normalize=dict(type='L2Normalize'),
    )
    built: Quantizer = QUANTIZERS.build(dict(type='ProductQuantizer', quantizer=config | sub, groups=groups))
    whole = nn.ModuleDict(
        {
            'encoder': nn.ModuleDict({'projection': down}),
            'quantizer': built,
            'decoder': nn.ModuleDict({'projection': up}),
        }
    )
    load_weights(whole, rename(case.state, RULES, case.name, (*NOT_IMAGES, *STATISTICS)), case.name)
    whole.train()
    f = down(x)
    out = built(f.transpose(1, 2))
    y = up(out.z_q_BDHW.transpose(1, 2))
    got = {'f': f, 'y': y, **results(built, out)}
    got |= {'f_from_idx': got['f_hat'], 'f_hat': out.z_q_BDHW.transpose(1, 2)}
    scalar = (y * case.inputs['grad']).sum() + got['vq_loss'] + got['entropy_loss']
    scalar.backward()
    chosen_GK = shares(got['indices'], config['codebook_size'])
    after = {f'after:quantizer.codebooks.{group}.vocab_usage': chosen_GK[group] for group in range(groups)}
    with_gradients(case, whole, RULES, got)
    return {**got, **after, 'scalar': scalar, 'g_x': x.grad}
