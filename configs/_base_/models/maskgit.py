"""MaskGIT's transformer (Chang et al., 2022), 172 M parameters, for 16x16 codes of 1,000 classes.

16 heads as in the released config; the paper has 8."""

from fvq_generators.masked import BERT, MaskGIT
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=MaskGIT,
        layout=dict(type='Grid', height=16, width=16, codebook_size=1024),
        network=dict(type=BERT, dim=768, depth=24, heads=16),
        num_classes=1000,
        cond_dropout=0.0,
        tied_head=True,
    ),
)
