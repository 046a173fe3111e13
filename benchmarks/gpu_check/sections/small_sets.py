"""Small runs: photos that stay on the GPU, and codes that are made at each step."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least


def judge(output: Any) -> list[Check]:
    """The crops of the loader, byte for byte; 25 iterations a second at K = 16,384."""
    checks = [
        Check('the crops of both ways are the same', output['same_batches']),
        at_least('iterations: times the loader', output['ratio'], 1.0),
        at_least('batches: times the loader', output['ratio_of_batches'], 1.0),
    ]
    if output['target'] is not None:
        checks.append(at_least('iterations/s', output['best_iterations_per_second'], output['target']))
    return checks


def judge_codes(output: Any) -> list[Check]:
    """What encoding at each step costs: reported, there is no target."""
    return [Check(f'images: {output["ratio"]["images"]:.2f} of the images/s of a store', True, 'target')]


SECTIONS = [
    Section(
        'small_set',
        'a mini row at K = 16,384 with its photos on the GPU, beside the loader',
        ('benchmarks/small_set.py', '--json'),
        120,
        (
            'configs/mini/gpu/*.py',
            'packages/fvq-core/src/fvq_core/data/**/*.py',
            'packages/fvq-core/src/fvq_core/ops/image_store.py',
            'packages/fvq-core/src/fvq_core/ops/resize.py',
            'packages/fvq-core/src/fvq_core/training/**/*.py',
        ),
        judge,
    ),
    Section(
        'codes-on-the-fly',
        "LlamaGen-B on images that VQ-16's network encodes at each step, beside a store of codes",
        ('benchmarks/codes_on_the_fly.py', '--json'),
        180,
        (
            'packages/fvq-core/src/fvq_core/autoencoders/vqgan.py',
            'packages/fvq-generators/src/fvq_generators/llamagen.py',
            'packages/fvq-generators/src/fvq_generators/tasks/*.py',
        ),
        judge_codes,
        arguments=('--repeats', '1'),
        rehearsal=('--repeats', '1'),
    ),
]
