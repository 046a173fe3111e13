"""A small LlamaGen on the 32 codes of `titok_codes_photos.py`: a sequence in place of a grid. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .llamagen_photos import *

model.generator.layout = dict(type='Sequence', length=32, codebook_size=1024)
train_dataloader.dataset.update(root='work_dirs/titok_codes_photos/codes')
