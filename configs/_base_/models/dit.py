"""DiT-XL/2 (Peebles and Xie, 2023), 675 M parameters, for latents of 32x32x4 and 1,000 classes."""

from fvq_generators import DiT
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=DiT,
        layout=dict(type='Grid', height=32, width=32, channels=4, scale=0.18215),
        num_classes=1000,
        patch_size=2,
        dim=1152,
        depth=28,
        heads=16,
    ),
)
