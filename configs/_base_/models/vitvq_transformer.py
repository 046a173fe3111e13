"""ViT-VQGAN's second stage (Yu et al., 2022) at its larger size, 1.8 B parameters, for 32x32 codes of 1,000 classes."""

from fvq_generators import ViTVQTransformer
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=ViTVQTransformer,
        layout=dict(type='Grid', height=32, width=32, codebook_size=8192),
        num_classes=1000,
        dim=2048,
        depth=36,
        heads=32,
        dropout=0.1,
    ),
)
