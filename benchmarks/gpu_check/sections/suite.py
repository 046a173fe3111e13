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
        arguments=('--ignore=tests/gpu/test_fused_ops.py',),  # a section of training
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
