"""VQGAN's convolutional network around FVQ: `mini/fvq.py`, the first row of the comparison of whole systems.

The systems beside it have networks of about the same size, 0.1 to 0.3 M parameters, and the same data, loss, steps, optimizer and
schedule; docs/benchmark.md has the numbers and pictures."""

from mmengine.config import read_base

with read_base():
    from ..fvq import *
