"""FVQ whose discriminator starts at 80,000 iterations, a fifth of the run, as in GigaTok with DINO's, in place of 20,000."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.adversarial.update(start=80000)
paper = None  # no row of the tables
