"""Sampling of generators."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least, at_most

SOURCES = ('packages/fvq-generators/src/**/*.py',)


def judge(output: Any) -> list[Check]:
    """GPT-L with 256 codes: the targets at batch 1 and 64."""
    checks = []
    for row in output['rows']:
        name = f'{row["size"]} batch {row["batch"]}'
        if row['size'] == 'GPT-L' and row['batch'] == 1:
            checks.append(at_most(f'{name}: ms an image', row['ms_per_image'], 150))
        elif row['size'] == 'GPT-L' and row['batch'] == 64:
            checks.append(at_least(f'{name}: images/s', row['images_per_second'], 250))
        if row['kernels']:
            # Codes follow one another, so that one draw that rounds the other way changes the rest of its image.
            checks.append(at_least(f'{name}: codes as without kernels', row['same_codes_without_kernels'], 0.5))
            checks.append(at_least(f'{name}: times ours without kernels', row['kernels_speedup_ratio'], 1.0))
        checks.append(Check(f'{name}: {row["fraction_of_bandwidth"]:.0%} of the bandwidth', True, 'target'))
    return checks


def judge_kernels(output: Any) -> list[Check]:
    """The same, of a run that must not have gone without the kernels."""
    ran = [Check(f'{row["size"]} batch {row["batch"]}: the kernels ran', row['kernels']) for row in output['rows']]
    return [*ran, *judge(output)]


SECTIONS = [
    Section(
        'sampling',
        'GPT-L, 256 codes, guidance, beside a plain loop and the bandwidth',
        ('benchmarks/sampling.py', '--json'),
        180,
        SOURCES,
        judge,
        arguments=('--sizes', 'L', '--repeats', '2'),
        rehearsal=('--sizes', 'tiny', '--codes', '4', '--repeats', '1'),
    ),
    *(
        Section(
            f'sampling-kernels-{size}',
            f'GPT-{size} with the kernels of decoding, beside ours without them',
            ('benchmarks/sampling.py', '--json'),
            300,
            SOURCES,
            judge_kernels,
            arguments=('--sizes', size, '--repeats', '2'),
            rehearsal=('--sizes', 'tiny', '--codes', '4', '--repeats', '1'),
            env={'FVQ_KERNELS': 'all'},
        )
        for size in ('L', 'XL', 'XXL', '3B')
    ),
]
