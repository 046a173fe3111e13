"""VAR's multi-scale quantizer and tokenizer, FVQ's VAR variant, and XQ-GAN's quantizer, which drops scales."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import Codes, Grid
from fvq_core.registry import QUANTIZERS, TOKENIZERS
from fvq_core.saving.weights import load_weights
from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.interop import fvq_release, var

from ..case import Case

BRIDGE = 'qbridge.'


def options(case: Case) -> dict[str, Any]:
    """What no file records, as options of the importer."""
    given = case.constructor
    return dict(
        scales=given['v_patch_nums'] if given.get('v_patch_nums') else None,
        l2_norm=given.get('using_znorm', False),
        phi_ratio=abs(given.get('quant_resi', 0.5)),
    )


def build(case: Case, state: Mapping[str, Tensor]) -> MultiScaleQuantizer:
    """In train mode whatever the peer's, whose loss and gradients flow in both; with a bridge if the state has one."""
    bridge = {key.removeprefix(BRIDGE): value for key, value in state.items() if key.startswith(BRIDGE)}
    rest = {key: value for key, value in state.items() if not key.startswith(BRIDGE)}
    config, renamed = var.import_quantizer(rest, **options(case))
    config['quantizer']['loss'] = dict(type='VQLoss', beta=case.constructor.get('beta', 0.25))
    if bridge:
        config['quantizer']['projector'], projector_state = fvq_release.import_projector(bridge)
        renamed.update({f'quantizer.projector.{key}': value for key, value in projector_state.items()})
    quantizer = QUANTIZERS.build(config)
    load_weights(quantizer, renamed, case.name)
    return quantizer.train()


def forward(case: Case, quantizer: MultiScaleQuantizer) -> tuple[dict[str, Tensor], dict[str, Tensor], Codes]:
    """Outputs that both peers have, the loss terms and the codes, after the scalar's backward pass."""
    f = case.inputs['f'].clone().requires_grad_()
    output = quantizer(f)
    ((output.z_q_BDHW * case.inputs['grad_fhat']).sum() + sum(output.losses.values())).backward()
    got = {'f_hat': output.z_q_BDHW, 'g_f': f.grad, 'g_embedding': quantizer.quantizer.embedding.grad}
    if len(quantizer.phis):
        got['g_phi0'] = quantizer.phis[0].weight.grad
    return got, output.losses, output.codes


def var_quantizer(case: Case) -> dict[str, Tensor]:
    quantizer = build(case, case.state)
    got, losses, _ = forward(case, quantizer)
    got['vq_loss'] = sum(losses.values(), torch.tensor(0.0))
    got['usages'] = hits(case)
    got['phi_index'] = torch.tensor(quantizer.phi_of_scale)
    return {**got, **helpers(case.inputs['f'], quantizer.eval())}


def xqgan_quantizer(case: Case) -> dict[str, Tensor]:
    """Its commitment term is a sum over scales, so beta is that many times ours."""
    given, scales = case.constructor, len(case.constructor['v_patch_nums'])
    config, renamed = var.import_quantizer(case.state, **options(case))
    config['quantizer']['loss'] = dict(type='VQLoss', beta=scales * given.get('beta', 0.25))
    dropped = 'n_kept' in case.inputs
    quantizer = QUANTIZERS.build({**config, 'dropout': given.get('codebook_drop', 0.0) if dropped else 0.0})
    load_weights(quantizer, renamed, case.name)
    f = case.inputs['f'].clone().requires_grad_()
    stored = case.inputs.get('n_kept', torch.empty(0))
    with patch.object(torch, 'randint', lambda *arguments, **keywords: stored.clone()):
        output = quantizer.train()(f)
    scalar = (output.z_q_BDHW * case.inputs['grad_f']).sum() + sum(output.losses.values())
    scalar.backward()
    codes = output.codes
    got = {
        'f_hat': output.z_q_BDHW,
        'vq_loss': output.losses['codebook'],
        'commit_loss': output.losses['commitment'],
        'indices': codes.indices_BL,
        'scalar': scalar,
        'g_f': f.grad,
        'g:embedding.weight': quantizer.quantizer.embedding.grad,
    }
    for index, phi in enumerate(quantizer.phis):
        got |= {f'g:quant_resi.qresi_ls.{index}.{name}': value.grad for name, value in phi.named_parameters()}
    if given.get('share_quant_resi') == 1:
        got |= {key.replace('qresi_ls.0', 'qresi'): value for key, value in got.items() if 'qresi_ls.0' in key}
    counted = case.state['ema_vocab_hit_SV'].clone()
    by_scale = codes.indices_BL.split(quantizer.layout(Grid(*f.shape[-2:])).positions.lengths, 1)
    for scale, indices_Bl in enumerate(by_scale):  # one counter of steps for all scales
        new_K = torch.bincount(indices_Bl.flatten(), minlength=counted.shape[1]).float()
        counted[scale] = 0.9 * counted[scale] + 0.1 * new_K if scale else new_K
    margin = f.numel() / f.shape[1] / counted.shape[1] * 0.08
    return {**got, 'after:ema_vocab_hit_SV': counted, 'usages': 100.0 * (counted >= margin).float().mean(1)}


def hits(case: Case) -> Tensor:
    """The peer's usage of each scale: codes whose decayed number of hits passes a margin. Counted only with several ranks."""
    f, size = case.inputs['f'], case.constructor['vocab_size']
    margin = f.numel() / f.shape[1] / size * 0.08
    return 100.0 * (case.state['ema_vocab_hit_SV'] >= margin).float().mean(1)


def native_sum(code_maps: list[Tensor], quantizer: MultiScaleQuantizer) -> Tensor:
    """VAR's experimental sum, enlarged scale by scale, of phis of the codes at their own size."""
    total = torch.zeros_like(code_maps[0])
    for scale, codes_BDhw in enumerate(code_maps):
        size = codes_BDhw.shape[-2:]
        part = quantizer._enlarge(codes_BDhw, *size, scale)
        total = F.interpolate(total, size, mode='bicubic') + part if scale else part
    return total


@torch.no_grad()
def helpers(f: Tensor, quantizer: MultiScaleQuantizer) -> dict[str, Tensor]:
    codes = quantizer(f).codes
    layout = quantizer.layout(Grid(*f.shape[-2:])).positions
    by_scale = codes.indices_BL.split(layout.lengths, 1)

    def code_map(scale: int) -> Tensor:
        return quantizer.codebook()[by_scale[scale].unflatten(1, layout.scales[scale])].permute(0, 3, 1, 2)

    last, nothing = len(by_scale) - 1, torch.zeros_like(f)
    first_sum, first_input = quantizer.advance(nothing, code_map(0), 0)
    return {
        'idx_all': codes.indices_BL,
        'fhat_per_scale': torch.stack([quantizer.embed_prefix(codes, step + 1) for step in range(last + 1)]),
        'var_input': quantizer.prefix_inputs(codes),
        'embed_fhat_last': quantizer.embed(codes),
        'embed_fhat_native_last': native_sum([code_map(scale) for scale in range(last + 1)], quantizer),
        'next_first_fhat': first_sum,
        'next_first': first_input,
        'next_last': quantizer.advance(nothing, code_map(last), last)[0],
    }


def fvq_quantizer(case: Case) -> dict[str, Tensor]:
    """The release maps the codebook in its forward pass; its helpers read the raw one, ours never do.

    `idx_raw` is therefore computed here with a quantizer that has no bridge.
    """
    quantizer = build(case, case.state)
    got, losses, codes = forward(case, quantizer)
    got.update(vq_loss=losses['codebook'], commit_loss=losses['commitment'], third_loss=torch.tensor(0.0))
    if hasattr(quantizer.quantizer.projector, 'expand'):
        got['g_final'] = quantizer.quantizer.projector.expand.weight.grad
    got['mapped'] = quantizer.codebook()
    got['idx_mapped'] = codes.indices_BL
    raw = build(case, {key: value for key, value in case.state.items() if not key.startswith(BRIDGE)})
    got['idx_raw'] = raw.eval()(case.inputs['f']).codes.indices_BL
    window, K = case.state['codebook_used'], case.constructor['vocab_size']
    by_scale = codes.indices_BL.split(quantizer.layout(Grid(*case.inputs['f'].shape[-2:])).positions.lengths, 1)
    chosen = torch.cat([indices.flatten() for indices in by_scale])
    window = torch.cat([window[len(chosen) :], chosen.to(window)])
    got['usage'] = torch.tensor(len(window.unique()) / K)
    got['codebook_used_tail'] = window[-128:]
    return got


def var_tokenizer(case: Case) -> dict[str, Tensor]:
    return images(case, *var.import_tokenizer(case.state, **options(case)))


def fvq_tokenizer(case: Case) -> dict[str, Tensor]:
    given = options(case)
    return images(case, *fvq_release.import_tokenizer(case.state, l2_norm=given['l2_norm'], scales=given['scales']))


@torch.no_grad()
def images(case: Case, config: dict[str, Any], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole tokenizer in eval mode; the losses are those that its quantizer has in training."""
    config['quantizer']['quantizer']['loss'] = dict(type='VQLoss', beta=case.constructor.get('beta', 0.25))
    tokenizer = TOKENIZERS.build(config).eval()
    load_weights(tokenizer, state, case.name)
    f = tokenizer.encode_latent(case.inputs['image'])
    quantized = tokenizer.quantizer(f)
    codes = quantized.codes
    losses = copy.deepcopy(tokenizer.quantizer).train()(f).losses
    first = tokenizer.quantizer.embed_prefix(codes, 1)
    got = {
        'f': f,
        'idx_all': codes.indices_BL,
        'img_from_idx': tokenizer.decode(codes).clamp(-1, 1),
        'img_recon_first': tokenizer.decode_latent(first).clamp(-1, 1),
        'img_recon_last': tokenizer(case.inputs['image']).reconstruction.clamp(-1, 1),
        'rec': tokenizer.decode_latent(quantized.z_q_BDHW),
    }
    if 'commit_loss' in case.outputs:  # FVQ hands out the two terms apart
        return {**got, 'vq_loss': losses['codebook'], 'commit_loss': losses['commitment']}
    return {**got, 'vq_loss': sum(losses.values(), torch.tensor(0.0))}
