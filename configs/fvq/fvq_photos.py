"""FVQ on ten bundled photographs: VQBridge with 8 codes a token and the paper's annealing. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.bundled_photos import *
    from .._base_.models.vqgan_tiny import *
    from .._base_.schedules.annealed_400 import *

from fvq_eval.reports.whole_photos import WholePhotos
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

# The raw codebook starts at N(0, 1), so that the bridge's tokens differ from the first step on; see docs/vqbridge.md.
model.tokenizer.quantizer.update(
    projector=dict(type=VQBridge, patch_size=8),
    init=dict(type=NormalInit, std=1.0),
)

# What keeps every code in use on any machine within five minutes, and the quarter of each photo in which that is counted;
# see docs/first_run.md.
model.reconstruction_loss.update(weight=10.0)
optim_wrapper.optimizer.update(lr=1.5e-3)
train_cfg.update(max_iters=1600, val_interval=0)
HELD_OUT = 2
train_dataloader.dataset.update(held_out=HELD_OUT)
val_dataloader.dataset.update(held_out=HELD_OUT)
default_hooks.report.update(dataset=dict(type=WholePhotos, held_out=HELD_OUT))
del HELD_OUT
