"""minGPT as VQGAN uses it (Esser et al., 2021), at the size of MaskGIT's transformer: 172 M parameters, 16x16 codes of 1,000 classes."""

from fvq_generators import MinGPT
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=MinGPT,
        layout=dict(type='Grid', height=16, width=16, codebook_size=1024),
        num_classes=1000,
        dim=768,
        depth=24,
        heads=8,
    ),
)
