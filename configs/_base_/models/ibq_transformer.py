"""IBQ's generator at its smallest size (Shi et al., 2024), 343 M parameters, for 16x16 codes of 1,000 classes."""

from fvq_generators import IBQTransformer
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=IBQTransformer,
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        num_classes=1000,
        dim=1024,
        depth=16,
        heads=16,
        gate_init=1e-3,
    ),
)
