"""Open-MAGVIT2's generator at its smallest size (Luo et al., 2024), 344 M parameters, for 16x16 codes of 2^18, 1,000 classes."""

from fvq_generators import OpenMAGVIT2Transformer
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=OpenMAGVIT2Transformer,
        layout=dict(type='Grid', height=16, width=16, codebook_size=262144),
        factors=(64, 4096),
        num_classes=1000,
        dim=1024,
        depth=24,
        inner_depth=2,
        heads=16,
    ),
)
