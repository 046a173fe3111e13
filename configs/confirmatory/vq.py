"""Plain VQ, 16,384 codes of 256 channels at f = 4. The base of the other rows (docs/confirmatory.md).

`sweep` has the tries of the tuning: starts and the rate of the codes; `--best-of` keeps the best of them."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.photo_tiles_64 import *
    from .._base_.models.vqgan_64 import *
    from .._base_.schedules.annealed_1600 import *

init, rates = 'model.tokenizer.quantizer.init', 'optim_wrapper.paramwise_cfg'
sweep = dict(
    row=dict(vq={}),
    start=dict(
        uniform={init: dict(type='UniformInit')},
        normal={init: dict(type='NormalInit', std=1.0)},
        kmeans={init: dict(type='KMeansInit')},
        latents={init: dict(type='LatentInit')},
    ),
    codes=dict(codes_1={}, codes_10={rates: dict(custom_keys={'quantizer.embedding': dict(lr_mult=10.0)})}),
)
del init, rates
