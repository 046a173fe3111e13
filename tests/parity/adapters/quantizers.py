"""Peers' vector quantizers without a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.ops.codebook_statistics import perplexity
from fvq_core.quantizer import QuantizerOutput
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.latents import to_vectors
from fvq_quantizers.soft_choices import entropies

from ..case import Case
from .draws import gumbel_noise


def build(case: Case, embedding_key: str, **axes: Any) -> VectorQuantizer:
    """Our quantizer with the peer's codebook in train mode."""
    K, dim = case.state[embedding_key].shape
    quantizer = QUANTIZERS.build({'type': 'VectorQuantizer', 'codebook_size': K, 'code_dim': dim, **axes})
    with torch.no_grad():
        quantizer.embedding.copy_(case.state[embedding_key])
    return quantizer.train(case.training)


def run(case: Case, quantizer: VectorQuantizer) -> tuple[Tensor, QuantizerOutput, Tensor]:
    """The latent, the output, and the scalar sum(z_q * G) + losses, after its backward pass."""
    z = case.inputs['z'].clone().requires_grad_()
    output = quantizer(z)
    scalar = (output.z_q_BDHW * case.inputs['grad_zq']).sum() + sum(output.losses.values())
    scalar.backward()
    return z, output, scalar


def ring_buffer(buffer: Tensor, indices: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """The peers' training usage: unique values among the last 65,536 codes, never-written zeros included."""
    shifted = torch.cat([buffer[len(indices) :], indices.to(buffer)])
    return torch.tensor(len(shifted.unique()) / codebook_size), shifted[-64:]


def llamagen(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    axes: dict[str, Any] = dict(loss=dict(type='VQLoss', beta=options['beta']))
    if options['l2_norm']:
        axes['normalize'] = dict(type='L2Normalize')
    if options['entropy_loss_ratio']:
        axes['regularizer'] = dict(type='EntropyRegularizer', weight=options['entropy_loss_ratio'])
    quantizer = build(case, 'embedding.weight', **axes)
    z, output, scalar = run(case, quantizer)
    indices = output.codes.indices_BL.flatten()
    usage, tail = ring_buffer(case.state['codebook_used'], indices, quantizer.codebook_size)
    return {
        'z_q': output.z_q_BDHW,
        'indices': indices,
        'vq_loss': output.losses['codebook'],
        'commit_loss': output.losses['commitment'],
        'entropy_loss': output.losses.get('entropy', torch.tensor(0.0)),
        'codebook_usage': usage,
        'codebook_used_tail': tail,
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad,
    }


def ibq_axes(options: Mapping[str, Any], weight: float) -> dict[str, Any]:
    """What a `VectorQuantizer` needs to be IBQ's, with the entropy term at `weight`."""
    axes: dict[str, Any] = dict(
        distance=dict(type='DotProduct'),
        estimator=dict(type='IndexBackpropagation'),
        loss=dict(type='IBQLoss', beta=options.get('beta', 0.25)),
    )
    if options.get('use_entropy_loss', False):
        axes['regularizer'] = dict(
            type='EntropyRegularizer',
            weight=weight,
            temperature=options.get('entropy_temperature', 0.01),
            sample_weight=options.get('sample_minimization_weight', 1.0),
            batch_weight=options.get('batch_maximization_weight', 1.0),
        )
    return axes


@torch.no_grad()
def ibq_entropies(options: Mapping[str, Any], quantizer: VectorQuantizer, z: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """IBQ's entropy terms, `loss` being their unweighted sum."""
    temperature = options.get('entropy_temperature', 0.01)
    sample, batch = entropies(to_vectors(z), quantizer.codebook(), quantizer.distance, temperature, 1e-5)
    return dict(sample_entropy=sample, avg_entropy=batch, entropy_loss=loss)


def ibq(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    weight = 0.1  # of the entropy term in the scalar that the case differentiates
    quantizer = build(case, 'embedding.weight', **ibq_axes(options, weight)).train()
    z, output, scalar = run(case, quantizer)
    got = {
        'z_q': output.z_q_BDHW,
        'indices': output.codes.indices_BL.flatten(),
        'quant_loss': sum(value for name, value in output.losses.items() if name != 'entropy'),
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad,
        'codebook_entry': quantizer.eval().embed(output.codes),
    }
    if options.get('use_entropy_loss', False):
        got |= ibq_entropies(options, quantizer, z, output.losses['entropy'] / weight)
    return got


def taming_ema(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    quantizer = build(
        case,
        'embedding.weight',
        loss=dict(type='VQLoss', beta=options['beta'], codebook_weight=0.0),
        update=dict(type='EMAUpdate', decay=options['decay'], eps=options['eps']),
    )
    quantizer.update.counts_K.copy_(case.state['embedding.cluster_size'])
    quantizer.update.sums_KD.copy_(case.state['embedding.embed_avg'])
    z, output, scalar = run(case, quantizer)
    indices = output.codes.indices_BL.flatten()
    return {
        'z_q': output.z_q_BDHW,
        'loss': output.losses['commitment'],
        'perplexity': torch.tensor(perplexity(torch.bincount(indices, minlength=quantizer.codebook_size))),
        'indices': indices,
        'scalar': scalar,
        'g_z': z.grad,
        'after:embedding.weight': quantizer.embedding,
        'after:embedding.cluster_size': quantizer.update.counts_K,
        'after:embedding.embed_avg': quantizer.update.sums_KD,
    }


def taming(case: Case) -> dict[str, Tensor]:
    refuse_remap(case)
    options = case.constructor
    legacy = options.get('legacy', True)
    quantizer = build(case, 'embedding.weight', loss=dict(type='VQLoss', beta=options['beta'], legacy=legacy))
    quantizer.train()  # the peer has the loss and its gradients in eval too
    z, output, scalar = run(case, quantizer)
    by_position = options.get('sane_index_shape', False)
    return {
        'z_q': output.z_q_BDHW,
        'loss': sum(output.losses.values()),
        'indices': output.codes.unflatten() if by_position else output.codes.indices_BL.flatten(),
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad,
        'entry': quantizer.eval().embed(output.codes),
    }


def taming_gumbel(case: Case) -> dict[str, Tensor]:
    """The peer's latent may be wider or narrower than its codes; ours has one width, padded with channels of zeros.

    The peer draws and has its loss in eval too, and there always returns the hard choice.
    """
    refuse_remap(case)
    options, state = case.constructor, case.state
    width = max(options['num_hiddens'], options['embedding_dim'])

    def padded(x: Tensor) -> Tensor:
        """Zeros after the channels, which are dimension 1."""
        return torch.cat([x, x.new_zeros(len(x), width - x.shape[1], *x.shape[2:])], 1)

    quantizer = QUANTIZERS.build(
        dict(
            type='GumbelQuantizer',
            codebook_size=options['n_embed'],
            code_dim=width,
            straight_through=not case.training or options.get('straight_through', True),
            kl_weight=options.get('kl_weight', 5e-4),
            temperature=options.get('temp_init', 1.0),
        )
    ).train()
    with torch.no_grad():
        quantizer.to_logits.weight.copy_(padded(state['proj.weight'].flatten(1)))
        quantizer.to_logits.bias.copy_(state['proj.bias'])
        quantizer.embedding.copy_(padded(state['embed.weight']))
    z = case.inputs['z'].clone().requires_grad_()
    with gumbel_noise(case.inputs['gumbel_noise'].movedim(1, -1)):
        output = quantizer(padded(z))
        z_q, loss = output.z_q_BDHW[:, : options['embedding_dim']], sum(output.losses.values(), torch.zeros(()))
        scalar = (z_q * case.inputs['grad_zq']).sum() + loss
        scalar.backward()
    return {
        'z_q': z_q,
        'loss': loss,
        'indices': output.codes.unflatten(),
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad[:, : options['embedding_dim']],
        'g_proj': quantizer.to_logits.weight.grad[:, : options['num_hiddens'], None, None],
        'g_proj_bias': quantizer.to_logits.bias.grad,
    }


def titok(case: Case) -> dict[str, Tensor]:
    """In the peer's eval mode the loss and its gradients are there, and the codebook rests."""
    options = case.constructor
    clustering = options.get('clustering_vq', False) and case.training
    axes: dict[str, Any] = dict(loss=dict(type='VQLoss', beta=options.get('commitment_cost', 0.25)))
    if options.get('use_l2_norm', False):
        axes['normalize'] = dict(type='L2Normalize')
    if clustering:
        axes['update'] = dict(type='CVQUpdate', anchor='closest', raw_anchors=True)
    quantizer = build(case, 'embedding.weight', **axes).train()
    if clustering:
        quantizer.update.usage_K.copy_(case.state['embed_prob'])
    z, output, scalar = run(case, quantizer)
    return {
        'z_q': output.z_q_BDHW,
        'indices': output.codes.unflatten(),
        'loss': sum(output.losses.values()),
        'commitment_loss': output.losses['commitment'],
        'codebook_loss': output.losses['codebook'],
        'scalar': scalar,
        'g_z': z.grad,
        'g_embedding': quantizer.embedding.grad,
        'after:embed_prob': quantizer.update.usage_K if clustering else case.state.get('embed_prob'),
        'after:embedding.weight': quantizer.embedding,
    }


def xqgan(case: Case) -> dict[str, Tensor]:
    """LlamaGen's quantizer with another usage: codes with at least 0.08 of the mean number of hits, in percent."""
    options = case.constructor
    axes: dict[str, Any] = dict(loss=dict(type='VQLoss', beta=options.get('beta', 0.25)))
    if options.get('codebook_norm', True):
        axes['normalize'] = dict(type='L2Normalize')
    quantizer = build(case, 'embedding.weight', **axes)
    z, output, scalar = run(case, quantizer)
    indices = output.codes.indices_BL.flatten()
    hits = torch.bincount(indices, minlength=quantizer.codebook_size).float()
    if not case.training:
        hits = case.state['ema_vocab_hit_SV'].flatten()
    return {
        'z_q': output.z_q_BDHW,
        'indices': indices,
        'vq_loss': output.losses.get('codebook', torch.zeros(())),
        'commit_loss': output.losses.get('commitment', torch.zeros(())),
        'usages': 100.0 * (hits >= 0.08 * len(indices) / len(hits)).float().mean().view(1),
        'scalar': scalar,
        'g_z': z.grad,
        'g:embedding.weight': quantizer.embedding.grad,
        'after:ema_vocab_hit_SV': hits,
    }


def refuse_remap(case: Case) -> None:
    if case.constructor.get('remap'):
        raise NotImplementedError(
            f'{case.name}: remap={case.constructor["remap"]} renumbers codes, which ours does not do'
        )


def simvq(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    quantizer = build(
        case,
        'embedding.weight',
        projector=dict(type='LinearProjector'),
        update=dict(type='Frozen'),
        loss=dict(type='VQLoss', beta=options['beta'], legacy=options['legacy']),
    )
    got = with_projector(case, quantizer, 'embedding_proj')
    return {**got, 'g_proj_w': got['g:embedding_proj.weight'], 'g_proj_b': got['g:embedding_proj.bias']}


def vqgan_lc(case: Case) -> dict[str, Tensor]:
    options = case.constructor
    source_dim = case.state['tok_embeddings.weight'].shape[1]
    projector: dict[str, Any] = dict(type='IdentityProjector')
    if options['use_cblinear'] == 1:
        projector = dict(type='LinearProjector', source_dim=source_dim)
    elif options['use_cblinear'] == 2:
        hidden_dim = case.state['codebook_projection.0.weight'].shape[0]
        projector = dict(type='MLPProjector', depth=2, source_dim=source_dim, hidden_dim=hidden_dim)
    trained = options['tuning_codebook'] in (1, -1)  # of image features, or from random values
    update: dict[str, Any] = dict(type='GradientUpdate' if trained else 'Frozen')
    loss = dict(type='VQLoss', beta=1.0, codebook_weight=0.33)
    ema = options['quantizer_type'] == 'ema'
    if ema:
        if options['use_cblinear']:
            pytest.skip('the peer searches the projected codebook and looks the codes up in the raw one; ours refuses')
        update, loss = dict(type='EMAUpdate'), dict(type='VQLoss', beta=1.0, codebook_weight=0.0)
    quantizer = QUANTIZERS.build(
        dict(
            type='VectorQuantizer',
            codebook_size=options['n_vision_words'],
            code_dim=options['embed_dim'],
            projector=projector,
            update=update,
            loss=loss,
        )
    )
    with torch.no_grad():
        quantizer.embedding.copy_(case.state['tok_embeddings.weight'])
        if ema:
            quantizer.update.counts_K.copy_(case.state['cluster_size'])
            quantizer.update.sums_KD.copy_(case.state['embed_avg'])
    got = with_projector(case, quantizer.train(), 'codebook_projection')
    got['g:tok_embeddings.weight'] = quantizer.embedding.grad
    if ema:
        got['after:tok_embeddings.weight'] = quantizer.embedding
        got['after:cluster_size'], got['after:embed_avg'] = quantizer.update.counts_K, quantizer.update.sums_KD
    return got


def with_projector(case: Case, quantizer: VectorQuantizer, prefix: str) -> dict[str, Tensor]:
    """A quantizer whose projector has the peer's weights under `prefix`; their gradients are called `g:KEY`."""
    inside = 'layers' if prefix + '.0.weight' in case.state else 'map'
    parameters = {
        key: quantizer.projector.get_parameter(key.replace(prefix, inside, 1))
        for key in case.state
        if key.startswith(f'{prefix}.')
    }
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(case.state[key])
    mapped = quantizer.codebook().detach().clone()
    z, output, scalar = run(case, quantizer)
    return {
        'z_q': output.z_q_BDHW,
        'loss': sum(output.losses.values()),
        'indices': output.codes.indices_BL.flatten(),
        'mapped': mapped,
        'scalar': scalar,
        'g_z': z.grad,
        **{f'g:{key}': parameter.grad for key, parameter in parameters.items()},
    }
