"""GigaTok B-L, 598 million parameters (622 with the head of the alignment), at batch 256: 32 images on each of 8 devices."""

from mmengine.config import read_base

with read_base():
    from .gigatok_ss import *

model.tokenizer.encoder.update(width=768, depth=12, heads=12)
model.tokenizer.decoder.update(width=1024, depth=24, heads=16)
model.alignment.update(width=1024, hidden=4096)
train_dataloader.update(batch_size=32)
