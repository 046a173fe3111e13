"""Infinity's smallest size (Han et al., 2025, `infinity_layer12`) with classes in place of text: seven scales of 521 codes of 32 bits."""

from fvq_generators import Infinity
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=Infinity,
        layout=dict(type='Pyramid', scales=[(side, side) for side in (1, 2, 4, 6, 8, 12, 16)], codebook_size=[2] * 32),
        num_classes=1000,
        dim=768,
        depth=12,
        heads=8,
        drop_path=0.1,
    ),
)
