"""Halton-MaskGIT's base model on LlamaGen's codes. In no table of the paper; a FID of 4.17 is published for it.

Its guidance w = 0.7 means c + 0.7 (c - u): a scale of 1.7 here."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.maskgit_halton import *
    from .._base_.schedules.halton_1000k import *

paper = dict(rows=[], tokenizer='configs/baselines/llamagen_16k.py')
