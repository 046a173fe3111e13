"""RCG-L (Li et al., 2024), 480 M parameters, for 16x16 codes of MaskGIT's tokenizer and 1,000 classes."""

from fvq_generators import MAGE, RCG, RepresentationDiffusion
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=RCG,
        layout=dict(type='Grid', height=16, width=16, codebook_size=1024),
        representation=dict(type=RepresentationDiffusion, dim=1536, depth=12, num_classes=1000),
        mage=dict(type=MAGE, dim=1024, depth=24, heads=16),
        channels=256,
    ),
)
