"""The same without a copy on the disk: training reads the hub's files as it goes."""

from mmengine.config import read_base

with read_base():
    from .huggingface import *

from fvq.remote_data import HuggingFaceStream

train_dataloader.dataset.update(type=HuggingFaceStream, length=50_000)
