"""VAR-d16 on the codes of FVQ (VAR): 16,384 codes of 256 channels behind a VQBridge, from a store. 8 devices with 96 images each.

The paper has no such row; docs/generation.md has the commands from the tokenizer to samples."""

from mmengine.config import read_base

with read_base():
    from .var_d16 import *

from fvq_generators.data import CodesDataset

model.tokenizer = 'work_dirs/var_16k/tokenizer'
model.generator.update(code_dim=256)
model.generator.layout.update(codebook_size=16384)
train_dataloader.dataset = dict(type=CodesDataset, root='data/codes/imagenet_var_16k')
del paper
