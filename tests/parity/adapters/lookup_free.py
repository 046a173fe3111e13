"""Peers' quantizers without a learned codebook: LFQ of Open-MAGVIT2, LFQ and FSQ of vector-quantize-pytorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes
from fvq_core.quantizer import QuantizerOutput
from fvq_core.registry import QUANTIZERS
from fvq_quantizers.implicit_quantizer import ImplicitQuantizer

from ..case import Case

HALVES = ('pre', 'post')  # of a factorized code
ENTROPY_WEIGHT, COMMITMENT_WEIGHT = 0.1, 0.25  # of the terms in the scalar that Open-MAGVIT2's cases differentiate


def magvit2_lfq(case: Case) -> dict[str, Tensor]:
    """In the peer's eval mode gradients flow and there are no losses: train mode with weights 0."""
    options = case.constructor
    bits = options.get('factorized_bits', (9, 9)) if options.get('token_factorization') else None
    quantizer = QUANTIZERS.build(
        dict(
            type='LFQ',
            codebook_size=options.get('codebook_size') or 2 ** options['dim'],
            groups=options.get('num_codebooks', 1),
            factorized_bits=bits,
            entropy_weight=ENTROPY_WEIGHT if case.training else 0.0,
            commitment_weight=COMMITMENT_WEIGHT if case.training else 0.0,
            sample_weight=options.get('sample_minimization_weight', 1.0),
            batch_weight=options.get('batch_maximization_weight', 1.0),
            pool_groups=True,
        )
    )
    z = case.inputs['z'].clone().requires_grad_()
    output = quantizer.train()(z)
    scalar = (output.z_q_BDHW * case.inputs['grad_zq']).sum() + sum(output.losses.values())
    scalar.backward()
    zero = torch.zeros(())
    with torch.no_grad():
        sample, batch = quantizer.entropies(quantizer.enter(z)) if case.training else (zero, zero)
        entry = quantizer.embed(output.codes)
    got = {
        'z_q': output.z_q_BDHW,
        'entropy_aux_loss': output.losses.get('entropy', zero) / ENTROPY_WEIGHT,
        'per_sample_entropy': sample,
        'codebook_entropy': batch,
        'commit_loss': output.losses.get('commitment', zero) / COMMITMENT_WEIGHT,
        'scalar': scalar,
        'g_z': z.grad,
        'indices': output.codes.indices_BL.flatten(),
        'codebook_entry': entry,
        'codebook': quantizer.codebook(),
    }
    if bits:
        got |= factorized(output.codes, bits)
        parts = entry.unflatten(1, (quantizer.groups, -1)).split(bits, 2)
        got |= {f'codebook_entry_{name}': part.flatten(1, 2) for name, part in zip(HALVES, parts, strict=True)}
    return got


def factorized(codes: Codes, bits: Sequence[int]) -> dict[str, Tensor]:
    """The sub-tokens of each position, as Open-MAGVIT2 names them."""
    tokens = codes.indices_BL.reshape(-1, len(bits)).unbind(1)
    named = {f'indices_{name}': token for name, token in zip(HALVES, tokens, strict=True)}
    return {**named, 'indices': torch.stack(tokens)}


class CosineLinear(nn.Module):
    """The peer's cosine projection: unit vectors times unit columns times a scale."""

    def __init__(self, weight: Tensor, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight.clone()), scale

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) @ F.normalize(self.weight, dim=0) * self.scale


class Front(nn.Module):
    """What the peer has between its input projection and the codes, and we have not: soft clamp and rotation."""

    def __init__(self, clamp: float | None, rotation: Tensor | None) -> None:
        super().__init__()
        self.clamp, self.rotation = clamp, rotation

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.clamp is None else (x / self.clamp).tanh() * self.clamp
        return x if self.rotation is None else (x.unflatten(-1, (-1, len(self.rotation))) @ self.rotation).flatten(-2)


class Wired:
    """Our quantizer with the peer's weights; where the peer has steps that ours lacks, those stand around it."""

    def __init__(self, case: Case, config: Mapping[str, Any], channels: int) -> None:
        options, state = case.constructor, case.state
        self.case, self.groups = case, options.get('num_codebooks', 1)
        dim = options.get('dim') or channels * self.groups
        projected = options.get('has_projections')
        projected = dim != channels * self.groups if projected is None else projected
        bias = options.get('projection_has_bias', True)
        clamp, rotation = options.get('soft_clamp_input_value'), state.get('orthogonal_rot')
        cosine = projected and options.get('cosine_sim_project_in', False)
        outside = cosine or clamp is not None or rotation is not None
        self.quantizer: ImplicitQuantizer = QUANTIZERS.build(
            dict(config, code_dim=None if outside else dim, groups=self.groups, project=projected and not outside)
            | dict(project_bias=bias)
        )
        self.project_in: nn.Module = self.quantizer.project_in
        self.project_out: nn.Module = self.quantizer.project_out
        self.front: nn.Module = nn.Identity()
        self.back: nn.Module = nn.Identity()
        if outside:
            if projected:
                self.project_in = nn.Linear(dim, channels * self.groups, bias=bias)
                self.project_out = nn.Linear(channels * self.groups, dim, bias=bias)
            if cosine:
                scale = options.get('cosine_sim_project_in_scale') or options.get('codebook_scale', 1.0)
                self.project_in = CosineLinear(state['project_in.weight'], scale)
            self.front = nn.Sequential(self.project_in, Front(clamp, rotation))
            back = Front(None, None if rotation is None else rotation.t())
            self.back = nn.Sequential(back, self.project_out)
        with torch.no_grad():
            for name in ('project_in', 'project_out'):
                for key, parameter in getattr(self, name).named_parameters():
                    parameter.copy_(state[f'{name}.{key}'])

    @property
    def channel_first(self) -> bool:
        return bool(self.case.constructor.get('channel_first')) or self.case.inputs['z'].dim() >= 4

    def sequence(self, z: Tensor) -> Tensor:
        """The peer's input as (B, N, D)."""
        return z.flatten(2).transpose(1, 2) if self.channel_first else z

    def grid(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) as our quantizer takes it."""
        return x_BND.transpose(1, 2).unsqueeze(3)

    def restore(self, z_q_BDHW: Tensor) -> Tensor:
        """Our quantizer's latent in the peer's shape."""
        x_BND = self.back(z_q_BDHW.squeeze(3).transpose(1, 2))
        return x_BND.transpose(1, 2).reshape(self.case.inputs['z'].shape) if self.channel_first else x_BND

    def indices(self, output: QuantizerOutput) -> Tensor:
        z = self.case.inputs['z']
        keep = self.case.constructor.get('keep_num_codebooks_dim')
        positions = (len(z), *(z.shape[2:] if self.channel_first else z.shape[1:2]))
        shape = (*positions, self.groups) if (self.groups > 1 if keep is None else keep) else positions
        return output.codes.indices_BL.reshape(shape)

    def gradients(self) -> dict[str, Tensor]:
        found = {}
        for name in ('project_in', 'project_out'):
            for key, parameter in getattr(self, name).named_parameters():
                found[f'g:{name}.{key}'] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return found


def lucidrains_lfq(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    if case.training and options.get('frac_per_sample_entropy', 1.0) < 1.0:
        pytest.skip('the peer draws the latents whose entropy it takes')
    codebook_size = options.get('codebook_size') or 2 ** options['dim']
    entropy_weight = options.get('entropy_loss_weight', 0.1)
    config = dict(
        type='LFQ',
        codebook_size=codebook_size,
        order='big',
        codebook_scale=options.get('codebook_scale', 1.0),
        spherical=options.get('spherical', False),
        commitment_weight=options.get('commitment_loss_weight', 0.0),
        entropy_weight=entropy_weight,
        temperature=1.0 / (case.description.get('call') or {}).get('inv_temperature', 100.0),
        batch_weight=options.get('diversity_gamma', 1.0),
        clamp_probabilities=True,
    )
    wired = Wired(case, config, int(log2(codebook_size)))
    quantizer = wired.quantizer.train(case.training)
    z = case.inputs['z'].clone().requires_grad_()
    x = wired.grid(wired.front(wired.sequence(z)))
    output = quantizer(x)
    z_q, losses = wired.restore(output.z_q_BDHW), dict(output.losses)
    if 'entropy' in losses and options.get('experimental_softplus_entropy_loss'):
        shifted = losses['entropy'] / entropy_weight + options.get('entropy_loss_offset', 5.0)
        losses['entropy'] = entropy_weight * F.softplus(shifted)
    zero = torch.zeros(())
    loss = sum(losses.values(), zero)
    scalar = (z_q * case.inputs['grad_zq']).sum() + loss
    if scalar.requires_grad:
        scalar.backward()
    with torch.no_grad():
        sample, batch = quantizer.entropies(quantizer.enter(x)) if case.training else (zero, zero)
        decoded = wired.restore(quantizer.eval().embed(output.codes))
    commitment_weight = options.get('commitment_loss_weight', 0.0)
    return {
        'z_q': z_q,
        'indices': wired.indices(output),
        'loss': loss,
        'per_sample_entropy': sample,
        'batch_entropy': batch,
        'commitment': losses['commitment'] / commitment_weight if 'commitment' in losses else zero,
        'scalar': scalar,
        'g_z': torch.zeros_like(z) if z.grad is None else z.grad,
        'from_indices': decoded,
        **wired.gradients(),
    }


def lucidrains_fsq(case: Case) -> dict[str, Tensor]:
    """Gradients flow in the peer's eval mode too, so ours is in train mode; only noise would differ."""
    options = case.constructor
    if case.training and options.get('noise_dropout'):
        pytest.skip('the peer draws noise')
    config = dict(
        type='FSQ',
        levels=options['levels'],
        symmetric=options.get('preserve_symmetry', False),
        hard_clamp=options.get('bound_hard_clamp', False),
    )
    wired = Wired(case, config, len(options['levels']))
    z = case.inputs['z'].clone().requires_grad_()
    output = wired.quantizer.train()(wired.grid(wired.front(wired.sequence(z))))
    z_q = wired.restore(output.z_q_BDHW)
    scalar = (z_q * case.inputs['grad_zq']).sum()
    scalar.backward()
    with torch.no_grad():
        decoded = wired.restore(wired.quantizer.eval().embed(output.codes))
    table = QUANTIZERS.build(config).codebook()
    return {
        'z_q': z_q,
        'indices': wired.indices(output),
        'from_indices': decoded,
        'scalar': scalar,
        'g_z': z.grad,
        'codebook': table[: len(case.outputs.get('codebook', table))],
        **wired.gradients(),
    }
