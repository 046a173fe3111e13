"""How large may the mapped codebook start? VQBridge's output map at 0, 0.03, 0.1, 0.3 and 1 of Xavier.

0 is the released start, 0.1 the default. `tools/benchmark.py` trains a row for each; the config itself is FVQ."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

scale = 'model.tokenizer.quantizer.projector.output_scale'
sweep = dict(
    scale=dict(
        scale_0={scale: 0.0},
        scale_003={scale: 0.03},
        scale_01={scale: 0.1},
        scale_03={scale: 0.3},
        scale_1={scale: 1.0},
    )
)
del scale
