"""SimVQ (Zhu et al., 2024b): a frozen codebook behind one linear map, whose rate is that of the codes."""

from mmengine.config import read_base

with read_base():
    from .linear import *

from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(update=dict(type=Frozen))
rates = 'optim_wrapper.paramwise_cfg'
sweep.row = dict(simvq={})
sweep.codes = dict(codes_1={}, codes_10={rates: dict(custom_keys={'quantizer.projector': dict(lr_mult=10.0)})})
del rates
