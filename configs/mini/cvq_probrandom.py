"""CVQ: rarely used codes move to a latent drawn by its similarity.

This is the default of the released class; its command line and README use `closest`."""

from mmengine.config import read_base

with read_base():
    from .cvq_closest import *

model.tokenizer.quantizer['update'].update(anchor='probrandom')
