"""RAR at its smallest size (Yu et al., 2024), 261 M parameters, for 16x16 codes of 1,000 classes."""

from fvq_generators import RAR
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=RAR,
        layout=dict(type='Grid', height=16, width=16, codebook_size=1024),
        num_classes=1000,
        dim=768,
        depth=24,
        heads=16,
        width=3072,
    ),
)
