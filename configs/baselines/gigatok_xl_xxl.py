"""GigaTok XL-XXL, 2.84 billion parameters (2.89 with the head of the alignment): entropy loss, warm-up, no shortcut.

Blocks are recomputed in the backward pass. The release shards the weights over its devices, of which it does not tell the number."""

from mmengine.config import read_base

with read_base():
    from .gigatok_bl import *

from fvq_quantizers.regularizers import EntropyRegularizer

model.tokenizer.encoder.update(width=1280, depth=36, heads=20, checkpointing=True)
model.tokenizer.quantizer.update(regularizer=dict(type=EntropyRegularizer, weight=0.005))
model.tokenizer.decoder.update(width=1536, depth=48, heads=24, checkpointing=True)
model.alignment.update(width=1536, hidden=6144)
model.reconstruction_loss = dict(type=L2Loss)
train_cfg.update(max_iters=1500000)
param_scheduler.update(warmup=5000, warmup_factor=0.01)
