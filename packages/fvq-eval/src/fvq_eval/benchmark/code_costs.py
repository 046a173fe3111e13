"""What the codes of held-out crops cost: under a generator, and under the shares of the training codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Pyramid
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_core.metric import MetricValue
from fvq_core.registry import DATASETS


def code_costs(folder: Path, weights: str) -> dict[str, MetricValue]:
    """Bits an image of the validation codes: of the generator, of the unigram code, and the gain in per cent.

    The unigram code gives each value of a slot, and of a scale, its share among the training codes, with one half added to
    each count (Krichevsky and Trofimov, 1981).
    """
    metrics = read_json_object(folder / 'run/metrics.json')['metrics']
    bits, samples = metrics['val_bits_per_image']['value'], metrics['val_bits_per_image']['samples']
    train, validation = (
        DATASETS.build(dict(type='CodesDataset', root=str(folder / name), every_crop=True))
        for name in ('codes', 'codes_val')
    )
    layout = train.layout
    groups = group_of_each_code(layout)
    counts = torch.full((int(groups.max()) + 1, layout.vocab_size), 0.5, dtype=torch.float64)
    for group in range(len(counts)):
        counts[group, layout.vocabularies[group % layout.slots] :] = 0.0
    for codes in batches(train):
        counts.index_put_(
            (groups.expand_as(codes.indices_BL), codes.indices_BL), torch.ones(()).double(), accumulate=True
        )
    log2_GK = (counts / counts.sum(1, keepdim=True)).log2()
    total = sum(
        -log2_GK[groups.expand_as(codes.indices_BL), codes.indices_BL].sum().item() for codes in batches(validation)
    )
    unigram = total / len(validation)
    of_codes = 'the codes of the validation crops'
    return dict(
        generator_bits_per_image=MetricValue(bits, 'bits', f'negative log2-likelihood of {of_codes}', samples),
        unigram_bits_per_image=MetricValue(unigram, 'bits', f'{of_codes} under the shares of training codes', samples),
        generator_gain=MetricValue(100 * (1 - bits / unigram), '%', 'bits saved over the unigram code', samples),
    )


def group_of_each_code(layout: CodeLayout) -> Tensor:
    """The number of the unigram that each of the L codes is of: one for each slot of each scale."""
    slot_L = torch.arange(layout.length) % layout.slots
    if not isinstance(layout.positions, Pyramid):
        return slot_L
    lengths = torch.tensor(layout.positions.lengths) * layout.slots
    return torch.arange(len(lengths)).repeat_interleave(lengths) * layout.slots + slot_L


def batches(dataset: Any, size: int = 256) -> Any:
    """The codes of a data set."""
    for start in range(0, len(dataset), size):
        items = [dataset[number] for number in range(start, min(start + size, len(dataset)))]
        broken = next((item['error'] for item in items if 'error' in item), None)
        if broken is not None:
            raise UserError(broken)
        yield Codes(torch.stack([item['codes'] for item in items]), dataset.layout)
