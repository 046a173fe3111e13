"""RandAR at its smallest size (Pang et al., 2024), 343 M parameters, for 16x16 codes of 1,000 classes."""

from fvq_generators import RandAR
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=RandAR,
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        num_classes=1000,
        dim=1024,
        depth=24,
        heads=16,
    ),
)
