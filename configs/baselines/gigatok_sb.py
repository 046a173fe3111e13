"""GigaTok S-B, 218 million parameters (232 with the head of the alignment): the decoder's transformer is B; twice as long."""

from mmengine.config import read_base

with read_base():
    from .gigatok_ss import *

model.tokenizer.decoder.update(width=768, depth=12, heads=12)
model.alignment.update(width=768, hidden=3072)
train_cfg.update(max_iters=2000000)
