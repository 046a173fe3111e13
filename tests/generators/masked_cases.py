"""Small masked models: one of each released form, and one with a factorised vocabulary on a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.registry import GENERATORS
from fvq_generators import MaskGIT
from fvq_generators.masked.draws import gumbel
from fvq_generators.sampling import guide, uniforms

from .tiny import GRID, SEQUENCE

SIZES = dict(dim=32, depth=2, heads=4)
FORMS: dict[str, dict[str, Any]] = {
    'original': dict(network=dict(type='BERT', **SIZES), tied_head=True),
    'titok': dict(
        layout=SEQUENCE,
        network=dict(type='BERT', **SIZES, gelu='none', transform=False),
        mask_schedule='arccos',
        unmasked_weight=0.1,
    ),
    'uvit': dict(layout=SEQUENCE, network=dict(type='UViT', **SIZES), mask_schedule='arccos'),
    'halton': dict(
        network=dict(type='ModulatedTransformer', **SIZES, hidden_multiple=8),
        tied_head=True,
        mask_output=True,
        mask_schedule='arccos',
        mask_each=True,
        unmasked_weight=1.0,
        label_smoothing=0.0,
    ),
    'factors': dict(layout=SEQUENCE, network=dict(type='BERT', **SIZES), factors=(2, 16)),
}


def masked_config(form: str, **changes: Any) -> dict[str, Any]:
    return dict(type='MaskGIT', **{**dict(layout=GRID, num_classes=5), **FORMS[form], **changes})


def tiny_masked(form: str, **changes: Any) -> MaskGIT:
    """In eval mode, with weights so large that every code and class shows in the logits."""
    torch.manual_seed(0)
    model = GENERATORS.build(masked_config(form, **changes))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1 if 'modulation' in name else 0.3)
    return model.eval()


def plainly_drawn(
    model: MaskGIT, cond: Tensor, seeds: list[int], given_BL: Tensor | None = None, **options: Any
) -> Tensor:
    """What `sample` draws, image by image, with all logits of two passes a step, and confidence sorted in a list."""
    settings, L, V = model.Sampling.of(options), model.layout.length, model.layout.vocab_size
    plan, parts = settings.plan(model.mask_schedule, L), model.codes.factors
    images = []
    for image, (label, seed) in enumerate(zip(cond, seeds, strict=True)):
        numbers = uniforms([seed], 1 + len(plan) * (len(parts) + 1) * L)[0, 1:].view(len(plan), len(parts) + 1, L)
        codes = [V] * L if given_BL is None else given_BL[image].tolist()
        total = codes.count(V)
        for at, step in enumerate(plan):
            both = torch.stack([label, model.condition.null(label)]) if model.condition.drop_rate else label[None]
            logits_LV = model.logits(torch.tensor([codes] * len(both)), both)
            logits_LV = (guide(logits_LV, step.scale)[0] if step.scale != 1 else logits_LV[0])[:, : sum(parts)]
            drawn, confidence = list(codes), [float('inf')] * L
            for place in (place for place, code in enumerate(codes) if code == V):
                value, scale, sure = 0, 1, 0.0
                for part, logits_V in enumerate((logits_LV[place] / step.temperature).split(list(parts))):
                    cumulative = logits_V.softmax(-1).double().cumsum(-1)
                    one = int((cumulative <= numbers[at, part, place] * cumulative[-1]).sum())
                    value, scale = value + scale * one, scale * parts[part]  # the first part is the lowest
                    sure += logits_V.log_softmax(-1)[one].item()
                drawn[place], confidence[place] = value, sure
            noise_L = (step.noise * gumbel(numbers[at, -1])).tolist()
            masked = codes.count(V)
            left = 0 if at + 1 == len(plan) else min(masked, max(1, min(masked - 1, int(total * step.share))))
            ranked = sorted(range(L), key=lambda place: confidence[place] + noise_L[place])
            codes = [V if place in ranked[:left] else drawn[place] for place in range(L)]
        images.append(codes)
    return torch.tensor(images)
