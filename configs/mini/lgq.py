"""LGQ (Altun et al., 2026): trained on soft choices among all codes at a temperature that falls from 1 to 0.1."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.lgq import LGQ
from fvq_quantizers.run_length_hook import RunLengthHook

model.tokenizer.quantizer = dict(type=LGQ, codebook_size=1024, code_dim=64)
default_hooks.update(run_length=dict(type=RunLengthHook, shares={'quantizer.temperature_steps': 1.0}))
