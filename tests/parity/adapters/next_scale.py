"""VAR's transformer, imported as `tools/convert.py` does, and its sampling."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import cast
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_core.registry import QUANTIZERS
from fvq_core.saving.weights import load_weights
from fvq_generators import VAR
from fvq_generators.sampling import Sampler
from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.interop.var import import_quantizer
from tests.tiny import build_from_peer

from ..case import Case

GRADIENTS = {
    'g_word_embed': 'code_embedding.weight',
    'g_class_emb': 'condition.table.weight',
    'g_pos_start': 'start',
    'g_pos_1LC': 'position_embedding',
    'g_lvl_embed': 'level_embedding',
    'g_head': 'head.weight',
}


@dataclass(frozen=True)
class Recorder:
    """A sampler that keeps the logits of each scale, (B, L, V)."""

    sampler: Sampler
    batch: int
    seen: list[Tensor] = field(default_factory=list, compare=False)

    def __call__(self, logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        self.seen.append(logits_NV.unflatten(0, (self.batch, -1)))
        return self.sampler(logits_NV, uniform_N)


def part(case: Case, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in case.state.items() if key.startswith(prefix)}


def build(case: Case) -> VAR:
    options = case.constructor
    generator = build_from_peer(
        'var-transformer',
        part(case, 'var/'),
        heads=options['num_heads'],
        scales=options['patch_nums'],
        cond_dropout=options['cond_drop_rate'],
        norm_eps=options['norm_eps'],
    )
    ratio = re.search(r'quant_resi=(-?[\d.]+)', options['vae_local'])
    config, renamed = import_quantizer(
        part(case, 'vae_quantize/'), options['patch_nums'], phi_ratio=abs(float(ratio[1])) if ratio else 0.5
    )
    quantizer = cast(MultiScaleQuantizer, QUANTIZERS.build(config))
    load_weights(quantizer, renamed, case.name)
    generator.bind(quantizer.eval())
    return cast(VAR, generator)


def var(case: Case) -> dict[str, Tensor]:
    generator, inputs = build(case).train(), case.inputs
    label, targets = inputs['label'], Codes(inputs['targets'], generator.layout)
    with patch('torch.rand', lambda *size, **options: inputs['drop_rand'].clone()):
        dropped = generator.condition.drop(label)
        logits = generator.logits(generator.features(inputs['x_wo_first'], label))
        # The case's inputs are drawn, and not the sums of its targets' scales.
        with patch.object(generator.quantizer, 'prefix_inputs', lambda codes: inputs['x_wo_first']):
            loss = generator.loss(Targets(targets), label)['cross_entropy']
    loss.backward()
    torch.testing.assert_close(loss, F.cross_entropy(logits.flatten(0, 1), inputs['targets'].flatten()))
    got = {'label_after_drop': dropped, 'logits': logits, 'loss': loss}
    parameters = dict(generator.named_parameters())
    got.update({name: cast(Tensor, parameters[key].grad) for name, key in GRADIENTS.items() if name in case.outputs})
    return {**got, **sampled(case, generator.eval())}


def sampled(case: Case, generator: VAR) -> dict[str, Tensor]:
    """The call of the peer's `autoregressive_infer_cfg`, whose guidance c + s (c - u) is ours of 1 + s."""

    def argument(key: str, default: float) -> float:
        match = re.search(rf'{key}=(-?[\d.]+)', case.description['call'] or '')
        return float(match[1]) if match else default

    sampler = Sampler(top_k=int(argument('top_k', 0)), top_p=argument('top_p', 0.0) or 1.0)
    recorder = Recorder(sampler, len(case.inputs['label']))
    codes = generator.sample(case.inputs['label'], cfg_scale=1.0 + argument('cfg', 1.5), pick=recorder)
    assert isinstance(codes, Codes)
    f_hat = generator.quantizer.embed(codes)
    return {'tokens': codes.indices_BL, 'f_hat': f_hat, 'cfg_logits': torch.cat(recorder.seen, 1)}
