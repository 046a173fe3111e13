"""The full training step."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least, at_most

CORE = 'packages/fvq-core/src/fvq_core'
SOURCES = (
    'benchmarks/quantizer.py',
    'configs/fvq/fvq_16k.py',
    f'{CORE}/autoencoders/**/*.py',
    f'{CORE}/losses/**/*.py',
    f'{CORE}/ops/**/*.py',
    f'{CORE}/training/**/*.py',
    'packages/fvq-quantizers/src/**/*.py',
)


def judge_step(name: str, images_per_second: float, ratio: float) -> Any:
    """The targets of one way to take a step, with the discriminator on."""

    def judge(output: Any) -> list[Check]:
        step = output['phases']['after'][name]
        return [
            at_least('images/s', step['images_per_second'], images_per_second),
            at_least('times the plain formulation', step['ratio'], ratio),
            at_most('GiB at peak', step['peak_gib'] or 0.0, 38),
        ]

    return judge


SECTIONS = [
    Section(
        'train-step',
        'the full step beside the plain formulation, batch 64',
        ('benchmarks/train_step.py', '--json'),
        90,
        SOURCES,
        judge_step('ours', 235, 2.5),
        arguments=('--batch', '64'),
        rehearsal=('--batch', '1', '--repeats', '1'),
    ),
    Section(
        'train-step-compiled',
        'the same with model.compile=True',
        ('benchmarks/train_step.py', '--json', '--compile'),
        300,
        SOURCES,
        judge_step('ours compiled', 280, 3.0),
        arguments=('--batch', '64'),
        rehearsal=('--batch', '1', '--repeats', '1'),
    ),
]
