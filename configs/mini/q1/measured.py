"""How far does a step move the codes? Plain, linear and VQBridge, with the step of the mapped codes measured.

`tools/benchmark.py` trains a row for each; `mini/q1/matched.py` then gives the first two the steps of the third. The config
itself is vanilla VQ."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

quantizer = 'model.tokenizer.quantizer'
default_hooks.update(code_step=dict(type='CodeStepHook'))
sweep = dict(
    projector=dict(
        measured_vq={f'{quantizer}.init': dict(type='KMeansInit')},
        measured_linear={
            f'{quantizer}.projector': dict(type='LinearProjector'),
            f'{quantizer}.init': dict(type='NormalInit', std=1.0),
        },
        measured_fvq={
            f'{quantizer}.projector': dict(type='VQBridge', patch_size=4),
            f'{quantizer}.init': dict(type='NormalInit', std=1.0),
        },
    ),
)
del quantizer
