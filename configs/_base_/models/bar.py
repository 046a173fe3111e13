"""BAR at its smaller size (Yu et al., 2026), 415 M parameters, for 16x16 codes of 16 bits and 1,000 classes."""

from fvq_generators import BAR
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=BAR,
        layout=dict(type='Grid', height=16, width=16, codebook_size=65536),
        num_classes=1000,
        dim=768,
        depth=24,
        heads=12,
        head_width=2048,
        head_depth=3,
    ),
)
