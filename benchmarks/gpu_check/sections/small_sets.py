"""Small runs whose photos stay on the GPU."""

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
]
