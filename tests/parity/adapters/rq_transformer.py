"""RQ-Transformer with the quantizer of its tokenizer, and its stored draws of training codes and samples."""

from __future__ import annotations

import re
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import pad

from fvq_core.codes import Codes, Targets
from fvq_core.registry import QUANTIZERS
from fvq_generators import RQTransformer
from fvq_generators.cross_entropy import soft_cross_entropy
from fvq_generators.sampling import Sampler
from fvq_quantizers import ResidualQuantizer
from tests.tiny import build_from_peer

from ..case import Case
from .generators import Recorder

QKV = {'query': 0, 'key': 1, 'value': 2}


def build(case: Case) -> tuple[RQTransformer, ResidualQuantizer]:
    arch, state = case.constructor['arch'], case.state
    height, width, depth = arch['block_size']
    for rate in ('embd_pdrop', 'attn_pdrop', 'resid_pdrop'):
        for part in (arch, arch['body']['block'], arch['head']['block']):
            assert not part.get(rate, 0.0), f'{rate}: the draws of dropout are not in a case'
    sizes = arch['vocab_size']
    generator = build_from_peer(
        'rq-transformer',
        {key.removeprefix('transformer/'): value for key, value in state.items() if key.startswith('transformer/')},
        heads=arch['body']['block']['n_head'],
        grid=(height, width),
        vocabularies=sizes if isinstance(sizes, list) else None,
        cumulative=arch['cumsum_depth_ctx'],
        text_weight=case.description['calls']['train'].get('txt_weight', 0.1),
    )
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    books = [
        state[f'quantizer/codebooks.{d}.weight'][:-1]
        for d in range(depth)
        if f'quantizer/codebooks.{d}.weight' in state
    ]
    shared = case.constructor['quantizer']['shared_codebook']
    inner = dict(type='VectorQuantizer', codebook_size=len(books[0]), code_dim=books[0].shape[1])
    several = {} if shared else dict(codebook_sizes=[len(book) for book in books])
    quantizer = QUANTIZERS.build(dict(type='ResidualQuantizer', quantizer=inner, depth=depth, shared=shared, **several))
    for vq, book in zip(quantizer.quantizers, books, strict=False):
        vq.embedding.data.copy_(book)
    quantizer.eval()
    generator.bind(quantizer)
    return cast(RQTransformer, generator), quantizer


def rq_transformer(case: Case) -> dict[str, Tensor]:
    generator, quantizer = build(case)
    cond, z = case.inputs['cond'], case.inputs['z'].permute(0, 3, 1, 2)
    temperature = case.description['calls']['train']['temp']
    columns = iter(case.inputs['uniform_codes'].flatten(0, 2).unbind(-1))

    def inverse(p_NK: Tensor, count: int, generator: Any = None) -> Tensor:
        return (p_NK.double().cumsum(1) <= next(columns).double()[:, None]).sum(1, keepdim=True)

    with patch.object(Tensor, 'multinomial', inverse):
        soft_BLV, codes = quantizer.soft_codes(z, temperature, stochastic=True)
    shape, V = codes.layout.shape, codes.layout.vocab_size
    got: dict[str, Tensor] = {
        'codes': codes.unflatten(),
        'soft_codes': soft_BLV.view(len(z), *shape, V),
        'hard_codes': quantizer.soft_codes(z, temperature)[1].unflatten(),
    }
    got |= training(case, generator.train(), codes, soft_BLV, cond)
    generator.eval()
    seen: list[Tensor] = []
    fed = iter(codes.indices_BL.unbind(1))

    def feed(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        seen.append(padded(logits_BV, V))
        return next(fed)

    generator.sample(cond, pick=feed)
    got['cached_logits'] = torch.stack(seen, 1).view(len(z), *shape, V)
    for name in case.outputs:
        if re.fullmatch(r'gen_\d+', name):
            got |= generated(case, generator, name, codes, cond)
    return got


def training(case: Case, generator: RQTransformer, codes: Codes, soft_BLV: Tensor, cond: Tensor) -> dict[str, Tensor]:
    """Logits, losses and gradients of the soft loss."""
    B, slots, V, sizes = len(codes), codes.layout.slots, codes.layout.vocab_size, codes.layout.vocabularies
    features, text = generator.features(codes.indices_BL, cond)
    logits = torch.stack([padded(generator.classifier(features[:, :, d], d), V) for d in range(slots)], dim=2)
    soft = soft_BLV.view(B, -1, slots, V)
    by_depth = []
    for d, size in enumerate(sizes):
        x_ND, soft_NV = generator.classifier.norm(features[:, :, d]).flatten(0, 1), soft[:, :, d, :size].flatten(0, 1)
        by_depth.append(soft_cross_entropy(x_ND, generator.classifier.at(d), soft_NV))
    losses = generator.loss(Targets(codes, soft_BLV), cond)
    torch.stack(list(losses.values())).sum().backward()
    hard = generator.loss(Targets(codes), cond)
    share = 1 - generator.text_weight if generator.text_classifier is not None else 1.0
    got = {
        'logits': logits.view(B, *codes.layout.shape, V),
        'loss': losses['soft_cross_entropy'] / share,
        'loss_hard': hard['cross_entropy'] / share,
        'loss_by_depth': torch.stack(by_depth),
    }
    if generator.text_classifier is not None and generator.text_norm is not None:
        got['cond_logits'] = generator.text_classifier(generator.text_norm(text))
        got['cond_loss'] = losses['text_cross_entropy'] / generator.text_weight
    for name, key in case.description['gradients'].items():
        got[name] = gradient(generator, key)
    return got


def gradient(generator: RQTransformer, key: str) -> Tensor:
    """The gradient of a tensor of the peer's."""
    grads = {name: cast(Tensor, parameter.grad) for name, parameter in generator.named_parameters()}
    if match := re.fullmatch(r'(body|head)_transformer\.blocks\.(\d+)\.attn\.(query|key|value)\.(weight|bias)', key):
        return grads[f'{match[1]}.{match[2]}.attention.qkv.{match[4]}'].chunk(3)[QKV[match[3]]]
    if match := re.fullmatch(r'(body|head)_transformer\.blocks\.(\d+)\.mlp\.(\d)\.(weight|bias)', key):
        return grads[f'{match[1]}.{match[2]}.ffn.{match[3]}.{match[4]}']
    if match := re.fullmatch(r'classifier\.linear\.(weight|bias)', key):
        every = [grads[f'classifier.maps.{d}.{match[1]}'] for d in range(len(generator.classifier.maps))]
        if len(every) == 1:
            return every[0]
        V = max(map(len, every))
        every = [
            pad(each.T, (0, V - len(each))) if match[1] == 'weight' else pad(each, (0, V - len(each))) for each in every
        ]
        return torch.stack(every)
    if key == 'tok_emb.weight':
        return torch.cat([grads[f'embedding.tables.{d}.weight'] for d in range(len(generator.embedding.tables))])
    places = {'pos_emb_cond': 'condition_positions', 'pos_emb_hw': 'positions', 'pos_emb_d': 'depth_positions'}
    if key in places:
        return grads[places[key]][None]
    plain = {
        'cond_emb.weight': 'condition.table.weight',
        'input_mlp': 'embedding.body_map',
        'head_mlp': 'embedding.head_map',
    }
    return grads[plain.get(key) or f'{plain[key.split(".")[0]]}.{key.split(".")[1]}']


def generated(case: Case, generator: RQTransformer, name: str, codes: Codes, cond: Tensor) -> dict[str, Tensor]:
    """A call of the peer's `sample`, which goes on with the training codes if it starts within the image."""
    call, layout = case.description['calls'][name], codes.layout
    row, column = call['start_loc']
    known = (row * layout.shape[1] + column) * layout.slots
    keep_BL = (torch.arange(layout.length) < known).expand(len(cond), -1)
    uniform = case.inputs[call['uniforms']] if 'uniforms' in call else torch.zeros(len(cond), layout.length)
    recorder = Recorder(Sampler(call['temperature'], call['top_k'], call['top_p']))
    with patch('fvq_generators.depth_decoding.uniforms', lambda seeds, draws: uniform.double()):
        drawn = generator.sample(cond, pick=recorder, **(dict(given=codes, keep_BL=keep_BL) if known else {}))
    got = {name: drawn.unflatten()}
    logits = f'gen_logits_{name.removeprefix("gen_")}'
    if logits in case.outputs:
        got[logits] = torch.stack([padded(each, layout.vocab_size) for each in recorder.seen], 1)
    return got


def padded(logits: Tensor, size: int) -> Tensor:
    """Logits of the largest vocabulary."""
    return pad(logits, (0, size - logits.shape[-1]), value=-torch.inf)
