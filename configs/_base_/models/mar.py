"""MAR-L (Li et al., 2024), 479 M parameters, for latents of 16x16x16 and 1,000 classes."""

from fvq_generators import MAR
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=MAR,
        layout=dict(type='Grid', height=16, width=16, channels=16, scale=0.2325),
        num_classes=1000,
        dim=1024,
        depth=16,
        heads=16,
        head_depth=8,
        head_width=1280,
    ),
)
