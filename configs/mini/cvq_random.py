"""CVQ: rarely used codes move to a random latent."""

from mmengine.config import read_base

with read_base():
    from .cvq_closest import *

model.tokenizer.quantizer['update'].update(anchor='random')
