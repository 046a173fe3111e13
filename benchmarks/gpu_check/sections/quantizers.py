"""Quantizers beside the textbook."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least, at_most

SOURCES = (
    'benchmarks/quantizer.py',
    'packages/fvq-core/src/fvq_core/ops/**/*.py',
    'packages/fvq-quantizers/src/**/*.py',
)


def judge(output: Any) -> list[Check]:
    """Time and memory beside the textbook."""
    return [
        at_least('times the textbook', output['speedup_ratio'], 1.0),
        at_most("of the textbook's memory", output['memory_ratio'], 1.0),
    ]


SECTIONS = [
    Section(
        'vq', 'forward and backward beside the textbook', ('benchmarks/quantizer.py', '--json'), 60, SOURCES, judge
    ),
    Section(
        'ibq',
        'IBQ at K = 262,144 beside dense N x K matrices',
        ('benchmarks/ibq.py', '--json'),
        60,
        SOURCES,
        judge,
        rehearsal=('--size', '64', '1024', '32', '--repeats', '1'),
    ),
]
