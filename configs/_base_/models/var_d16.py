"""VAR at its smallest size (Tian et al., 2024), 310 M parameters, for ten scales of 680 codes and 1,000 classes."""

from fvq_generators import VAR
from fvq_generators.tasks import GeneratorTask

model = dict(
    type=GeneratorTask,
    generator=dict(
        type=VAR,
        layout=dict(
            type='Pyramid', scales=[(side, side) for side in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)], codebook_size=4096
        ),
        code_dim=32,
        num_classes=1000,
        dim=1024,
        depth=16,
        heads=16,
        drop_path=0.1 * 16 / 24,
        gate_init=1e-3,
    ),
)
