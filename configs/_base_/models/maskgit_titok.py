"""TiTok's MaskGIT (Yu et al., 2024), 177 M parameters, for 32 tokens of 1,000 classes."""

from fvq_generators.masked import BERT, MaskGIT
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=MaskGIT,
        layout=dict(type='Sequence', length=32, codebook_size=4096),
        network=dict(type=BERT, dim=768, depth=24, heads=16, gelu='none', transform=False),
        num_classes=1000,
        mask_schedule='arccos',
        unmasked_weight=0.1,
    ),
)
