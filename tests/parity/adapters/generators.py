"""LlamaGen's transformer, imported as `tools/convert.py` does, and its sampling loop."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_generators import LlamaGen
from fvq_generators.sampling import Sampler, filter_logits
from tests.tiny import build_from_peer

from ..case import Case

# Where our tensors are that the cases name gradients of.
GRADIENTS = {
    'g_tok': 'code_embedding.weight',
    'g_cls': {'c2i': 'condition.table.weight', 't2i': 'condition.inner.weight'},
    'g_cls2': {'t2i': 'condition.outer.weight'},
    'g_norm': 'norm.weight',
    'g_out': 'head.weight',
}
MASKS = ('emb_masks', 'emb_mask', 'caption_mask', 'mask', 'attn_mask')


@dataclass(frozen=True)
class Recorder:
    """A sampler that keeps the logits it is given."""

    sampler: Sampler
    seen: list[Tensor] = field(default_factory=list, compare=False)

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        self.seen.append(logits_BV)
        return self.sampler(logits_BV, uniform_B)


def build(case: Case) -> LlamaGen:
    options = case.constructor
    side, text = math.isqrt(options['block_size']), options['model_type'] == 't2i'
    generator = build_from_peer(
        'llamagen-gpt',
        case.state,
        heads=options['n_head'],
        grid=(side, side),
        num_classes=None if text else options['num_classes'],
        cond_dropout=options['class_dropout_prob'],
        caption_tokens=options['cls_token_num'] if text else None,
    )
    for name in ('token_dropout_p', 'attn_dropout_p', 'resid_dropout_p', 'ffn_dropout_p', 'drop_path_rate'):
        assert options.get(name, 0.0) == 0.0, f'{name}: the draws of dropout are not in a case'
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return cast(LlamaGen, generator)


def caption_mask(case: Case, name: str) -> Tensor | None:
    """The padding mask (B, T) of captions, where an output was computed with one."""
    found = next((case.inputs[key] for key in MASKS if key in case.inputs), None)
    meanings = {key: str(value.get('meaning', '')) for key, value in case.description['outputs'].items()}
    told = any('mask' in meaning for meaning in meanings.values())
    if found is None or (told and 'mask' not in meanings.get(name, '')):
        return None
    found = found.bool()
    if found.dim() > 2:  # a whole attention mask: its last row sees every real caption token
        found = found.reshape(len(found), *found.shape[-2:])[:, -1]
    return found[:, : case.constructor['cls_token_num']]


def conditions(case: Case) -> Tensor:
    """Class labels (B,), or the first `cls_token_num` vectors of each caption, which are all that the peer reads."""
    condition = case.inputs['cond'] if 'cond' in case.inputs else case.inputs['caption']
    return condition[:, : case.constructor['cls_token_num']] if condition.dim() > 1 else condition


def llamagen(case: Case) -> dict[str, Tensor]:
    generator, inputs = build(case), case.inputs
    condition, tokens = conditions(case), inputs['tokens']
    got: dict[str, Tensor] = {}
    if generator.rotations is not None:
        got['freqs_cis'] = generator.rotations
    got.update(training(case, generator.train(), tokens, condition))
    generator.eval()
    with torch.no_grad():
        mask = caption_mask(case, 'eval_logits_full')
        got['eval_logits_full'] = generator.logits(generator.features(tokens, condition, mask))
    for name in case.outputs:
        if re.fullmatch(r'gen_\d+', name):
            got.update(generated(case, generator, name))
    return got


def training(case: Case, generator: LlamaGen, tokens: Tensor, condition: Tensor) -> dict[str, Tensor]:
    """Logits, losses and gradients, with the peer's draw of the conditions to drop."""
    targets = Targets(Codes(tokens, generator.layout))
    drawn = case.inputs.get('drop_rand', torch.ones(len(tokens)))
    with patch('torch.rand', lambda *size, **options: drawn.clone()):
        dropped = generator.condition.drop(condition)
        mask = caption_mask(case, 'logits')
        features = generator.features(tokens[:, :-1], condition, mask)[:, generator.condition.tokens - 1 :]
        loss = generator.loss(targets, condition, caption_mask(case, 'loss'))['cross_entropy']
        loss.backward()
        with torch.no_grad():
            valid = generator.loss(targets, condition, caption_mask(case, 'loss_valid'), case.inputs.get('valid'))
    got = {
        'logits': generator.logits(features),
        'loss': loss,
        'loss_valid': valid['cross_entropy'],
        'label_after_drop': dropped,
        'caption_after_drop': dropped,
        'cond_after_drop': dropped,
    }
    parameters = dict(generator.named_parameters())
    for name in case.outputs:
        match = re.fullmatch(r'g_w(qkv|o)(\d+)', name)
        key: Any = GRADIENTS.get(name)
        if match:
            key = f'blocks.{match[2]}.attention.{ {"qkv": "qkv", "o": "out"}[match[1]] }.weight'
        elif isinstance(key, dict):
            key = key.get(case.constructor['model_type'])
        if key:
            got[name] = cast(Tensor, parameters[key].grad)
    return got


def generated(case: Case, generator: LlamaGen, name: str) -> dict[str, Tensor]:
    """A call of the peer's `generate`, with the arguments that the case's words give."""
    meaning = case.description['outputs'][name]['meaning']

    def argument(key: str, default: float) -> float:
        match = re.search(rf'{key}\s*=\s*(-?[\d.]+\d|-?\d+)', meaning)
        return float(match[1]) if match else default

    recorder = Recorder(
        Sampler(argument('temperature', 1.0), int(argument('top_k', 0)), argument('top_p', 1.0)),
    )
    codes = generator.sample(
        conditions(case),
        cfg_scale=argument('cfg_scale', 1.0),
        cfg_interval=int(argument('cfg_interval', -1)),
        caption_mask_BT=caption_mask(case, name),
        pick=recorder,
    )
    return {name: codes.indices_BL, name.replace('gen_', 'gen_logits_'): torch.stack(recorder.seen, dim=1)}


def var_filter(case: Case) -> dict[str, Tensor]:
    """VAR writes "off" of top-p as 0."""
    combinations = case.constructor['combos_(top_k,top_p)']
    return {
        f'masked_{number}': filter_logits(case.inputs['logits'], top_k, top_p or 1.0)
        for number, (top_k, top_p) in enumerate(combinations)
    }
