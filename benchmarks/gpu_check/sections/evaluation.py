"""Evaluation and extraction of codes."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least

PHOTOS = 'configs/fvq/fvq_photos.py'


def judge_evaluation(output: Any) -> list[Check]:
    """Beside torch-fidelity."""
    return [
        at_least('Frechet term, times torch-fidelity', output['frechet']['ratio'], 1.0),
        at_least('precision and recall, times torch-fidelity', output['precision_recall']['ratio'], 1.0),
    ]


def judge_extraction(output: Any) -> list[Check]:
    """Beside one crop at a time; the same codes."""
    ten = output['ten']
    return [
        Check(f'{ten["same_codes"]:.2%} of codes the same (at least 99.9 %)', ten['same_codes'] >= 0.999),
        at_least('times one crop at a time', ten['ratio_to_one_crop_at_a_time'], 1.0),
        at_least("share of the network's rate", ten['share_of_network_rate'], 0.8),
    ]


def judge_images(output: Any) -> list[Check]:
    """Beside the networks by themselves."""
    return [at_least("share of the networks' rate", output['share_of_network_rate'], 0.8)]


SECTIONS = [
    Section(
        'evaluation',
        'Frechet term, precision and recall beside torch-fidelity',
        ('benchmarks/evaluation.py', '--json'),
        90,
        ('benchmarks/one_pass.py', 'packages/fvq-eval/src/**/*.py'),
        judge_evaluation,
        rehearsal=('--size', '300', '32'),
    ),
    Section(
        'evaluation-images',
        'a pass of `tools/test.py --preset` beside its networks',
        ('benchmarks/evaluate_images.py', '--json'),
        90,
        (
            'benchmarks/extract_codes.py',
            PHOTOS,
            'packages/fvq-eval/src/**/*.py',
            'packages/fvq-core/src/fvq_core/ops/finite.py',
        ),
        judge_images,
        rehearsal=('--images', '8', '--size', '64', '--network', 'RandomFeatures', '--workers', '0', '--repeats', '1'),
    ),
    Section(
        'extraction',
        'codes of JPEG files into a store',
        ('benchmarks/extract_codes.py', '--json'),
        90,
        (PHOTOS, 'packages/fvq-generators/src/**/*.py', 'packages/fvq-core/src/fvq_core/data/**/*.py'),
        judge_extraction,
        arguments=('--workers', '4'),
        rehearsal=('--images', '10', '--repeats', '1', '--workers', '0'),
    ),
]
