"""BAR's masked bit head on LlamaGen-B's transformer, on the 262,144 codes of Open-MAGVIT2. 8 devices with 32 images each.

The published models have another transformer, tokenizer and schedule; this is LlamaGen's. Not measured."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.bar import *
    from .._base_.schedules.llamagen_300e import *

train_dataloader.dataset.update(root='data/codes/imagenet_open_magvit2_262k')
