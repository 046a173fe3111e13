"""LlamaGen at its smallest size (Sun et al., 2024), 111 M parameters, for 16x16 codes of 1,000 classes."""

from fvq_generators import LlamaGen
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=LlamaGen,
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        num_classes=1000,
        dim=768,
        depth=12,
        heads=12,
    ),
)
