"""FVQ with 16,384 codes whose decoder sees perturbed codes, as RobustTok's does (arXiv 2503.08354): not a row of the paper.

One image of the 16 on each device has codes replaced by one of the 100 nearest, at a rate that falls from 1 to one half."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

default_hooks.update(perturbation=dict(type='LatentPerturbationHook'))
paper = None  # no row of the tables
