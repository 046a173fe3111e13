"""Structure or density? A plain codebook in which every code near a latent is pulled, not only the one that was chosen.

The codebook term is `NonStationaryLoss` at a constant temperature: weight 1 for the chosen code, min(1, K p / 100) for the
others, with p their soft assignment. A higher temperature pulls more codes. `chosen` is the same loss with no weight for the
others: vanilla VQ. `tools/benchmark.py` trains a row for each cell; the config itself is vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

quantizer = 'model.tokenizer.quantizer'
sweep = dict(
    pull=dict(
        chosen={f'{quantizer}.loss': dict(type='NonStationaryLoss', strength=0.0)},
        dense_03={f'{quantizer}.loss': dict(type='NonStationaryLoss', temperature=0.3)},
        dense_1={f'{quantizer}.loss': dict(type='NonStationaryLoss', temperature=1.0)},
        dense_3={f'{quantizer}.loss': dict(type='NonStationaryLoss', temperature=3.0)},
    ),
    start=dict(
        normal={f'{quantizer}.init': dict(type='NormalInit', std=1.0)},
        kmeans={f'{quantizer}.init': dict(type='KMeansInit')},
    ),
)
del quantizer
