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


def judge_ibq(output: Any) -> list[Check]:
    """Time, memory and gradients beside the textbook."""
    worst = max(output['relative_gradient_difference'].values())
    return [*judge(output), at_most("gradients' largest difference, of the largest", worst, 1e-3, 'equality')]


TARGETS = {262144: (20.0, 512.0), 16384: (1.6, 512.0)}  # milliseconds and MiB at N = 32,768, D = 256


def judge_search(output: Any) -> list[Check]:
    """No wrong code in any data; faster than the float32 product for Gaussian ones; the targets."""
    checks = [Check('the kernels ran', output['kernel'], kernel='nearest_code')]
    for row in output['rows']:
        name, ours = f'{row["data"]}, {row["distance"]}, K = {row["K"]:,}', row['ways']['ours']
        checks.append(at_most(f'{name}: wrong codes', row['wrong'], 0, 'equality', 'nearest_code'))
        checks.append(at_most(f'{name}: wrong codes of the reference', row['wrong_reference'], 0, 'equality'))
        if row['data'] != 'Gaussian':
            continue
        checks.append(at_least(f'{name}: times float32', row['times_float32'], 1.0, 'gain', 'nearest_code'))
        if row['K'] in TARGETS and row['distance'] == 'l2':
            ms, mib = TARGETS[row['K']]
            checks += [at_most(f'{name}: ms', ours['ms'], ms), at_most(f'{name}: MiB', ours['extra_mib'], mib)]
    return checks


SECTIONS = [
    Section(
        'search',
        'the search beside float32, the N x K matrix and half precision',
        ('benchmarks/search.py', '--json'),
        120,
        (),
        judge_search,
        rehearsal=('--repeats', '1'),
        kernels={
            'nearest_code': (
                'packages/fvq-core/src/fvq_core/ops/nearest_code.py',
                'packages/fvq-core/src/fvq_core/ops/search/*.py',
            )
        },
    ),
    Section(
        'vq',
        'forward and backward beside the textbook',
        ('benchmarks/quantizer.py', '--json'),
        60,
        SOURCES,
        judge,
        rehearsal=('--repeats', '1'),
    ),
    *(
        Section(
            term,
            f'{what} at K = 262,144 beside dense N x K matrices',
            ('benchmarks/ibq.py', '--json', '--term', term),
            60,
            ('benchmarks/ibq.py', *SOURCES),
            judge_ibq,
            rehearsal=('--size', '64', '1024', '32', '--repeats', '1'),
        )
        for term, what in (
            ('ibq', 'IBQ'),
            ('ibq-entropy', 'IBQ with its entropy term'),
            ('vq-entropy', 'the entropy term of l2 logits'),
            ('lfq-entropy', "LFQ's entropy term"),
        )
    ),
]
