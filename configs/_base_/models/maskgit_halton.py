"""Halton-MaskGIT's base model (Besnier et al., 2025), 142 M parameters, for 16x16 codes of LlamaGen's tokenizer."""

from fvq_generators.masked import MaskGIT, ModulatedTransformer
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=MaskGIT,
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        network=dict(type=ModulatedTransformer, dim=768, depth=12, heads=12),
        num_classes=1000,
        tied_head=True,
        mask_output=True,
        mask_schedule='arccos',
        mask_each=True,
        unmasked_weight=1.0,
        label_smoothing=0.0,
    ),
)
