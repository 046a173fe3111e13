"""Must the raw codebook be trained? Trained and frozen behind three projectors, all from N(0, 1).

`tools/benchmark.py` trains a row for each cell; the config itself is vanilla VQ from that start. SimVQ (`mini/simvq.py`) is the
frozen linear row from N(0, 1/D)."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

from fvq_quantizers.inits import NormalInit

model.tokenizer.quantizer.update(init=dict(type=NormalInit, std=1.0))
projector = 'model.tokenizer.quantizer.projector'
sweep = dict(
    projector=dict(
        linear={projector: dict(type='LinearProjector')},
        mlp5={projector: dict(type='MLPProjector', depth=5)},
        fvq={projector: dict(type='VQBridge', patch_size=4)},
    ),
    raw=dict(trained={}, frozen={'model.tokenizer.quantizer.update': dict(type='Frozen')}),
)
del projector
