"""Is a codebook starved of steps? Its rate x 1, 10 and 30, plain and behind two projectors.

It starts at U(-1/K, 1/K), as in the paper. `step` scales only the rate of the raw codebook (`quantizer.embedding`). `mini/q1`
does the same from N(0, 1); `mini/vq_tuned.py` is the plain codebook from k-means centres. `tools/benchmark.py` trains a row for
each cell; the config itself is vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

rates = 'optim_wrapper.paramwise_cfg'
sweep = dict(
    projector=dict(
        vq={},
        linear={'model.tokenizer.quantizer.projector': dict(type='LinearProjector')},
        fvq={'model.tokenizer.quantizer.projector': dict(type='VQBridge', patch_size=4)},
    ),
    step=dict(
        step_1={},
        step_10={rates: dict(custom_keys={'quantizer.embedding': dict(lr_mult=10.0)})},
        step_30={rates: dict(custom_keys={'quantizer.embedding': dict(lr_mult=30.0)})},
    ),
)
del rates
