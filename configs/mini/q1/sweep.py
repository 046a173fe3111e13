"""Structure or step size? Does VQBridge help by its structure, or because its codes move faster than those of a plain codebook?

Projector x step of the raw codebook x how that codebook starts and moves. `tools/benchmark.py` trains a row for each cell; the
config itself is vanilla VQ. Two cells of one line or column differ in one thing:

- `step` scales only the rate of the raw codebook (`quantizer.embedding`); a projector keeps the rate of everything else.
- `raw` starts at N(0, 1) behind every projector, and so does `frozen`: they differ in whether the codebook is trained.
- `kmeans` is for the plain codebook: behind a projector the quantizer refuses it.

The plain codebook's own start, U(-1/K, 1/K), is in `mini/vq.py` and `mini/sweeps/codebook_step.py`."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

quantizer = 'model.tokenizer.quantizer'
rates = 'optim_wrapper.paramwise_cfg'
sweep = dict(
    projector=dict(
        vq={},
        linear={f'{quantizer}.projector': dict(type='LinearProjector')},
        fvq={f'{quantizer}.projector': dict(type='VQBridge', patch_size=4)},
    ),
    step=dict(
        x1={},
        x10={rates: dict(custom_keys={'quantizer.embedding': dict(lr_mult=10.0)})},
        x30={rates: dict(custom_keys={'quantizer.embedding': dict(lr_mult=30.0)})},
    ),
    start=dict(
        raw={f'{quantizer}.init': dict(type='NormalInit', std=1.0)},
        frozen={
            f'{quantizer}.init': dict(type='NormalInit', std=1.0),
            f'{quantizer}.update': dict(type='Frozen'),
        },
        kmeans={f'{quantizer}.init': dict(type='KMeansInit')},
    ),
)
refused = [
    dict(projector='vq', start='frozen', reason='a frozen codebook without a projector: nothing moves the codes'),
    dict(step='x10', start='frozen', reason='a frozen codebook takes no step: the same as x1'),
    dict(step='x30', start='frozen', reason='a frozen codebook takes no step: the same as x1'),
]
del quantizer, rates
