"""RQ-Transformer at its smallest published size (Lee et al., 2022), 481 M parameters, for 8x8 stacks of four codes.

It trains on images: at each step the codes are drawn again from the tokenizer's softmax, which is the target too. Train the
tokenizer first: `tools/train.py configs/baselines/rqvae_50e.py`."""

from fvq_generators import RQTransformer
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=RQTransformer,
        layout=dict(type='Grid', height=8, width=8, codebook_size=[16384] * 4),
        code_dim=256,
        num_classes=1000,
        dim=1536,
        depth=12,
        head_depth=4,
        heads=24,
    ),
    tokenizer='work_dirs/rqvae_50e/tokenizer',
)
