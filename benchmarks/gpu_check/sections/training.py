"""The full training step."""

from __future__ import annotations

from typing import Any

from ..section import Check, Section, at_least, at_most, pytest_section

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


OPS = f'{CORE}/ops'
SHARED = (f'{OPS}/channels_last.py',)
KERNELS = {
    'group_norm_silu': (
        *SHARED,
        f'{OPS}/group_norm_silu.py',
        f'{OPS}/recomputed_conv.py',
        f'{OPS}/residual_sum.py',
        f'{OPS}/triton/group_norm.py',
        f'{OPS}/triton/pointwise.py',
    ),
    'upsample2x': (
        *SHARED,
        f'{OPS}/recomputed_conv.py',
        f'{OPS}/upsample2x.py',
        f'{OPS}/triton/pointwise.py',
    ),
    'feature_distance': (*SHARED, f'{OPS}/feature_distance.py', f'{OPS}/triton/feature_distance.py'),
}


def judge_operators(output: Any) -> list[Check]:
    """Each operator: within rounding of float64, the same when repeated, past 2^31 elements, and faster than plain torch."""
    checks = []
    for name, each in output['operators'].items():
        kernel, far = each['kernel'], each['past_2_31']
        checks += [
            Check(f'{name}: its kernel ran', each['kernel_ran'], kernel=kernel),
            at_most(f'{name}: roundings from float64', each['roundings'], 4, 'equality', kernel),
            Check(f'{name}: the same bits when repeated', each['repeats_equal'], kernel=kernel),
            at_least(f'{name}: times plain torch', each['ratio'], 1.0, 'gain', kernel),
        ]
        if far is not None:
            checks.append(at_most(f'{name}: roundings past 2^31 elements', far, 1, 'equality', kernel))
        checks.append(at_least(f'{name}: times plain torch, (64, 128, 32, 32)', each['ratio_small'], 1.0))
        spent, limit = sum(each['fused_ms']), sum(each['limit_ms'])
        checks.append(at_most(f"{name}: times the memory's limit", spent / limit, 2.0))
    return checks


def judge_step(name: str, images_per_second: float, ratio: float) -> Any:
    """The targets of one way to take a step, with the discriminator on; losses and gradients are those of plain torch."""

    def judge(output: Any) -> list[Check]:
        way, agreement = output['ways'][name], output['agreement']
        step, rounding = way['after'], agreement['half_plain_gradient']
        return [
            at_most('loss, relative to plain torch', agreement['loss'], 2**-8, 'equality'),
            at_most('gradient norm, relative to plain torch', agreement['gradient_norm'], 2**-8, 'equality'),
            at_most('gradient, relative to plain torch', agreement['gradient'], 2**-6, 'equality'),
            at_most(  # no equality: codes change too
                f'gradient in half precision, from float32 (plain torch {rounding:.4g})',
                agreement['half_gradient'],
                1.25 * rounding + 2**-8,
            ),
            Check(f'kernels that ran: {", ".join(way["kernels"]) or "none"}', len(way['kernels']) == len(KERNELS)),
            at_least('images/s', step['images_per_second'], images_per_second),
            at_least('times the plain formulation', step['ratio'], ratio),
            at_most('GiB at peak', step['peak_gib'] or 0.0, 38),
        ]

    return judge


def judge_parts(most: float) -> Any:
    """Steps of configs beside that of the first one: at most so many times its seconds."""

    def judge(output: Any) -> list[Check]:
        first, *others = output['configs'].items()
        return [
            at_most(
                f'{name}: {each["peak_gib"]:.1f} GiB, times the step of {first[0]}',
                each['seconds'] / first[1]['seconds'],
                most,
            )
            for name, each in others
        ]

    return judge


PARTS = (
    'configs/fvq/fvq_16k.py',
    *(f'configs/ablations/fvq_16k_{part}.py' for part in ('dino', 'align', 'vit', 'dino_late_align_vit')),
)
FROZEN = 'configs/frozen/fvq_16k_vae_sd.py'

SECTIONS = [
    Section(
        'fused-ops',
        'fused operators of convolutional networks beside plain torch and float64',
        ('benchmarks/fused_ops.py', '--json'),
        90,
        (),
        judge_operators,
        rehearsal=('--repeats', '1'),
        kernels=KERNELS,
    ),
    Section(
        'train-step',
        'the full step beside the plain formulation, batch 64',
        ('benchmarks/train_step.py', '--json'),
        150,
        (*SOURCES, 'benchmarks/step_profile.py'),
        judge_step('ours', 235, 2.5),
        arguments=('--batch', '64', '--profile'),
        rehearsal=('--batch', '1', '--repeats', '1', '--ways', 'plain', 'ours'),
    ),
    Section(
        'train-step-compiled',
        'the same with model.compile=True',
        ('benchmarks/train_step.py', '--json', '--ways', 'plain', 'ours compiled'),
        300,
        (*SOURCES, 'benchmarks/step_profile.py'),
        judge_step('ours compiled', 280, 3.0),
        arguments=('--batch', '64', '--profile'),
        rehearsal=('--batch', '1', '--repeats', '1'),
    ),
    Section(
        'step-parts',
        'what DINO discriminator, alignment and ViTs add to a step, batch 32',
        ('benchmarks/step_parts.py', '--json', *PARTS),
        180,
        (*SOURCES, 'configs/ablations/*.py'),
        judge_parts(2),
        rehearsal=('--small', '--batch', '2', '--repeats', '1'),
    ),
    Section(
        'frozen-step',
        'a step of FVQ on frozen latents beside one that encodes and decodes images, batch 32',
        ('benchmarks/step_parts.py', '--json', PARTS[0], FROZEN),
        120,
        (
            *SOURCES,
            FROZEN,
            'configs/_base_/models/*.py',
            'packages/fvq-generators/src/fvq_generators/tasks/frozen_latents_task.py',
        ),
        judge_parts(0.5),
        arguments=('--repeats', '10'),
        rehearsal=('--small', '--batch', '2', '--repeats', '1'),
    ),
    pytest_section(
        'fused-tests',
        'steps through the fused operators: layouts, repeats, plain and compiled',
        240,
        'tests/gpu/test_fused_ops.py',
        sources=(*SOURCES, 'tests/core/interpreted_fused_ops.py', 'tests/core/test_fused_step.py'),
    ),
]
