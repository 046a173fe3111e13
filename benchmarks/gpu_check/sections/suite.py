"""The tests: those marked `gpu` first, the whole suite last."""

from __future__ import annotations

from ..section import Section, none_failed, pytest_counts, pytest_section

SOURCES = ('packages/*/src/**/*.py', 'configs/**/*.py')

CHEAP = [
    pytest_section(
        'gpu-tests',
        'what the CPU computes comes out on the card',
        120,
        'tests/gpu',
        sources=SOURCES,
        arguments=tuple(f'--ignore=tests/gpu/test_{name}.py' for name in ('fused_ops', 'search_kernels', 'sampling')),
    ),
]
OF_A_SUBJECT = [  # that of the fused operators is among those of training
    pytest_section(
        'search-tests',
        "the search's kernels choose as the definition does, whatever the data",
        90,
        'tests/gpu/test_search_kernels.py',
        sources=(*SOURCES, 'tests/core/search_cases.py', 'tests/gpu/test_search.py'),
    ),
    pytest_section(
        'sampling-tests',
        'samples of any batch, plain and compiled',
        120,
        'tests/gpu/test_sampling.py',
        sources=SOURCES,
    ),
]
WHOLE = [
    Section(
        'suite',
        'the whole suite passes beside a GPU',
        ('-m', 'pytest', '-q', '-p', 'no:cacheprovider'),
        400,
        (*SOURCES, 'tests/**/*.py', 'tools/**/*.py'),
        judge=none_failed,
        arguments=('--numprocesses', 'auto', '--dist', 'loadscope'),
        rehearsal=('tests/test_suite.py',),
        parse=pytest_counts,
        env={'OMP_NUM_THREADS': '1'},
    )
]
