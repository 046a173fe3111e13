"""Which bridge, and from which start? ViT blocks or DiT blocks x the scale of the output map x the raw codebook's start.

Scale 0 with the uniform raw codebook is what the released scripts train with DiT blocks; 0.1 with N(0, 1) is our default. Both
bridges have 4 codes a token in the codebook's order. `tools/benchmark.py` trains a row for each cell; the config itself is FVQ."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *

quantizer = 'model.tokenizer.quantizer'
scale = f'{quantizer}.projector.output_scale'
sweep = dict(
    bridge=dict(
        vit={f'{quantizer}.projector': dict(type='VQBridge', patch_size=4)},
        dit={f'{quantizer}.projector': dict(type='DiTBridge', patch_size=4, patching='sequence')},
    ),
    scale=dict(scale_0={scale: 0.0}, scale_01={scale: 0.1}, scale_1={scale: 1.0}),
    raw=dict(
        normal={f'{quantizer}.init': dict(type='NormalInit', std=1.0)},
        uniform={f'{quantizer}.init': dict(type='UniformInit')},
    ),
)
del quantizer, scale
