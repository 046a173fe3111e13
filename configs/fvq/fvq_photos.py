"""FVQ on ten bundled photographs: VQBridge with 4 codes a token and the paper's annealing; three minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .._base_.photos import *

from fvq_core.data import WholePhotos
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

# The raw codebook starts at N(0, 1), so that the tokens of the bridge differ from the first step on; docs/vqbridge.md.
model.tokenizer.quantizer.update(
    projector=dict(type=VQBridge, patch_size=4),
    init=dict(type=NormalInit, std=1.0),
)
# Long enough that no code is left unused on any machine: docs/first_run.md.
train_cfg.update(max_iters=1600, val_interval=800)
default_hooks.report.update(dataset=dict(type=WholePhotos))
