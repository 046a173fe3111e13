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
            # Reported only: one draw that falls the other way changes the rest of its image.
            checks.append(at_least(f'{name}: codes as without kernels', row['same_codes_without_kernels'], 0.5))
            checks.append(at_least(f'{name}: times ours without kernels', row['kernels_speedup_ratio'], 1.0))
        checks.append(Check(f'{name}: {row["fraction_of_bandwidth"]:.0%} of the bandwidth', True, 'target'))
    return checks


def judge_kernels(output: Any) -> list[Check]:
    """The same, of a run that must not have gone without the kernels."""
    ran = [Check(f'{row["size"]} batch {row["batch"]}: the kernels ran', row['kernels']) for row in output['rows']]
    return [*ran, *judge(output)]


ROUNDING = {'bfloat16': 2.0**-7, 'float32': 1e-5}  # of an operator's result, relative to the largest
LOGITS = {'bfloat16': 2.0**-4, 'float32': 1e-4}  # of a model's, between two ways to round


def judge_proof(output: Any) -> list[Check]:
    """Operators within rounding of float64, draws exact, codes the same in any batch; faster than compiled plain torch."""
    dtype, codes = output['dtype'], output['codes']
    step, draw = 'decoding_step', 'draw'
    checks = [Check('the kernels ran', output['kernels'], kernel=name) for name in (step, draw)]
    for row in output['step']:
        name = f'{row["op"]}, {row["rows"]} rows'
        checks.append(at_most(f'{name}: error against float64', row['error'], ROUNDING[dtype], 'equality', step))
        if row['same_in_any_batch'] is not None:
            checks.append(Check(f'{name}: a row is the same without the others', row['same_in_any_batch'], kernel=step))
    for row in output['draw']:
        name = f'draw, {row["rows"]} rows, {row["filters"]}'
        checks.append(at_most(f'{name}: wrong tokens', row['wrong'], 0, 'equality', draw))
        checks.append(at_least(f'{name}: times plain torch', row['times_plain'], 1.0, 'gain', draw))
    name = f'codes in batch {codes["batch"]}'
    checks += [
        Check(f'{name}: as in batch 1', codes['same_in_batch_1'], kernel=step),
        at_most(f'{name}: logits apart from plain torch', codes['logits_apart'], LOGITS[dtype], 'equality', step),
        at_most(f'{name}: first differences that are no near tie', codes['no_near_tie'], 0, 'equality', step),
    ]
    for row in output['rows']:
        if row['kernels']:
            name = f'{row["size"]} batch {row["batch"]}: times ours without kernels'
            checks.append(at_least(name, row['kernels_speedup_ratio'], 1.0, 'gain', step))
    return checks + judge_kernels(output)


def judge_masked(output: Any) -> list[Check]:
    """MaskGIT's forms beside their plain loops: a sample of one image waits for launches, of which ours has half."""
    checks = []
    for row in output['rows']:
        name = f'{row["form"]} batch {row["batch"]}'
        checks.append(at_least(f'{name}: times a plain loop', row['speedup_ratio'], 1.5 if row['batch'] == 1 else 1.1))
        # Half precision rounds otherwise in another shape, and a draw that falls the other way changes what follows.
        checks.append(at_least(f'{name}: codes as in the plain loop', row['same_codes'], 0.3))
    return checks


def judge_scales(output: Any) -> list[Check]:
    """VAR-d16 at batch 8: the target, and the plain loop of the same run."""
    checks = []
    for row in output['rows']:
        name = f'{row["size"]} of {row["codebook_size"]:,} codes, batch {row["batch"]}'
        checks.append(at_most(f'{name}: seconds', row['ours_seconds'], 0.15))
        checks.append(at_least(f'{name}: times the plain loop', row['speedup_ratio'], 1.5))
        # The first scale reads nothing that was drawn; later ones differ with a draw between two codes.
        checks.append(at_least(f'{name}: first codes as the plain loop', row['same_first_codes'], 0.5))
    return checks


def judge_bits(output: Any) -> list[Check]:
    """Infinity beside a loop without a cache, which reads twice as many positions."""
    checks = []
    for row in output['rows']:
        name = f'{row["size"]}, batch {row["batch"]}'
        checks.append(at_least(f'{name}: times the plain loop', row['speedup_ratio'], 1.3))
        # Half of all bits are the same by chance; the first scale reads nothing that was drawn.
        checks.append(at_least(f'{name}: first bits as the plain loop', row['same_first_codes'], 0.9))
    return checks


def judge_bit_heads(output: Any) -> list[Check]:
    """BAR beside a loop without a cache, which reads half of the image again for each code."""
    (row,) = output['rows']
    name = f'{row["model"]}, {row["size"]}, batch {row["batch"]}'
    return [
        at_least(f'{name}: times the plain loop', row['speedup_ratio'], 2.0),
        at_least(f'{name}: codes as in the plain loop', row['same_codes'], 0.3),
    ]


def judge_orders(output: Any) -> list[Check]:
    """RandAR-L in 88 steps beside LlamaGen-L code by code, batch 64."""
    (row,) = output['rows']
    name, ratio = f'{row["model"]} {row["size"]}, batch {row["batch"]}', row['llamagen_seconds'] / row['ours_seconds']
    return [
        at_least(f'{name}: times LlamaGen of its size', ratio, 2.0),
        at_least(f'{name}: codes as in the plain loop', row['same_codes'], 0.3),
    ]


def judge_latents(output: Any) -> list[Check]:
    """DiT and MAR: the latents of a plain loop from the same noise, not slower than it, in sampling and in a training step."""
    checks = []
    for row in output['rows']:
        name = f'{row["model"]} batch {row["batch"]}'
        least = 1.3 if row['kind'] == 'MAR' else 1.0
        # Half precision rounds at each step, and 250 steps add up.
        checks.append(at_most(f'{name}: latents apart from the plain loop', row['apart'], 0.1))
        checks.append(at_least(f'{name}: times a plain loop', row['speedup_ratio'], least))
        if 'training_speedup_ratio' in row:
            checks.append(at_least(f'{name}: training step, times a plain one', row['training_speedup_ratio'], 1.0))
    return checks


def judge_attention(output: Any) -> list[Check]:
    """One call of FlexAttention, forward and backward, beside a call for each scale."""
    name, bound = 'block_causal_attention', ROUNDING[output['dtype']]
    return [
        at_most('a call for each scale: error against float64', output['by_scale_error'], 2 * bound, 'equality'),
        at_most('FlexAttention: error against float64', output['flex_error'], 2 * bound, 'equality', name),
        at_least('FlexAttention: times a call for each scale', output['speedup_ratio'], 1.0, 'gain', name),
    ]


OPS = 'packages/fvq-generators/src/fvq_generators/ops'
INFINITY = 'configs/generation/infinity_layer12_t2i.py'
SCALES = 'packages/fvq-quantizers/src/fvq_quantizers/multi_scale_quantizer.py'

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
    Section(
        'sampling-masked',
        "MaskGIT's three forms beside plain loops in the style of their releases, batch 1 and 64",
        ('benchmarks/sampling_masked.py', '--json'),
        180,
        (*SOURCES, 'benchmarks/sampling_autoregressive.py'),
        judge_masked,
        arguments=('--repeats', '2'),
        rehearsal=('--forms', 'tiny', '--batches', '2', '--repeats', '1'),
    ),
    *(
        Section(
            f'latents-{model}',
            f'{model}: sampling and a training step beside plain ones in the style of the release, batch 1 and 32',
            ('benchmarks/sampling_latents.py', '--json', '--train'),
            300,
            (*SOURCES, 'benchmarks/sampling_autoregressive.py'),
            judge_latents,
            arguments=('--models', model, '--batches', '1', '32', '--repeats', '2'),
            rehearsal=('--models', f'{model.split("-")[0]}-tiny', '--batches', '2', '--repeats', '1'),
        )
        for model in ('DiT-XL', 'MAR-L')
    ),
    Section(
        'sampling-var',
        'VAR-d16, 680 codes, guidance, batch 8, beside a plain loop in the style of its release',
        ('benchmarks/sampling_var.py', '--json'),
        120,
        (*SOURCES, SCALES),
        judge_scales,
        arguments=('--depths', '16', '--codebook-sizes', '4096', '16384'),
        rehearsal=('--depths', '1', '--codebook-sizes', '2048', '--batch', '1', '--repeats', '1'),
    ),
    Section(
        'sampling-infinity',
        'Infinity of 12 blocks from texts, 521 codes of 32 bits, guidance, batch 8, beside a plain loop without a cache',
        ('benchmarks/sampling_var.py', '--json', '--infinity', INFINITY),
        120,
        (
            *SOURCES,
            SCALES,
            INFINITY,
            'benchmarks/plain_infinity.py',
            'benchmarks/sampling_autoregressive.py',
            'configs/_base_/models/infinity_layer12.py',
            'configs/baselines/infinity_d32.py',
            'packages/fvq-quantizers/src/fvq_quantizers/bsq.py',
        ),
        judge_bits,
        rehearsal=('--small', '--batch', '1', '--repeats', '1'),
    ),
    Section(
        'sampling-bar',
        'BAR-B, 256 codes, guidance, batch 8, beside a plain loop without a cache',
        ('benchmarks/sampling_autoregressive.py', '--json', '--models', 'BAR'),
        240,
        SOURCES,
        judge_bit_heads,
        arguments=('--size', 'B24', '--side', '16', '--batch', '8', '--repeats', '2'),
        rehearsal=('--size', 'tiny', '--side', '2', '--batch', '1', '--repeats', '1'),
    ),
    Section(
        'sampling-randar',
        'RandAR-L, 256 codes in 88 steps, guidance, batch 64, beside LlamaGen-L and a plain loop',
        ('benchmarks/sampling_autoregressive.py', '--json'),
        240,
        SOURCES,
        judge_orders,
        arguments=('--models', 'RandAR', '--size', 'L', '--side', '16', '--batch', '64', '--repeats', '1'),
        rehearsal=('--models', 'RandAR', '--size', 'tiny', '--side', '4', '--batch', '1', '--repeats', '1'),
    ),
    Section(
        'attention-scales',
        "VAR's attention in training: FlexAttention beside a call for each scale, forward and backward",
        ('benchmarks/block_causal_attention.py', '--json'),
        120,
        ('packages/fvq-generators/src/fvq_generators/layers/block_causal_attention.py',),
        judge_attention,
        rehearsal=('--tiny', '--repeats', '1'),
        kernels={
            'block_causal_attention': ('packages/fvq-generators/src/fvq_generators/layers/block_causal_attention.py',)
        },
    ),
    Section(
        'sampling-kernels-L',
        'the kernels of decoding: errors, draws, codes in any batch, and GPT-L beside ours without them',
        ('benchmarks/decoding_ops.py', '--json'),
        300,
        (*SOURCES, 'benchmarks/sampling.py'),
        judge_proof,
        rehearsal=('--tiny', '--repeats', '1'),
        kernels={
            'decoding_step': tuple(
                f'{OPS}/{file}.py'
                for file in (
                    *('few_rows', 'projection', 'decode_attention'),
                    *('triton/products', 'triton/projection', 'triton/decode_attention'),
                )
            ),
            'draw': (f'{OPS}/draw.py', f'{OPS}/few_rows.py', f'{OPS}/triton/draw.py'),
        },
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
        for size in ('XL', 'XXL', '3B')
    ),
]
