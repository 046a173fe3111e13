"""NS-VQ (Lu et al., 2026): codes that were not chosen follow the encoder too, by a kernel that narrows as training goes on."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.losses import NonStationaryLoss
from fvq_quantizers.run_length_hook import RunLengthHook

model.tokenizer.quantizer.update(loss=dict(type=NonStationaryLoss, temperature=1.0, decay=0.5))
default_hooks.update(run_length=dict(type=RunLengthHook, shares={'quantizer.loss.decay_steps': 0.1}))
