"""The kernels of the fused operators compile without a card: for the oldest that runs them (sm_80) and for sm_90."""

from __future__ import annotations

from typing import Any

import pytest

from fvq_core.ops.channels_last import load_kernels
from fvq_core.ops.group_norm_silu import WARPS, sizes
from tests.triton_compile import compile_kernel

pytest.importorskip('triton')
pytestmark = pytest.mark.processes  # it compiles for half a minute

HALVES = (
    'x',
    'y',
    'dx',
    'dy',
    'skip',
    'h',
    'a',
    'b',
    'da',
)  # bfloat16 features; in the norm's kernels `b` is a local name
NUMBERS = ('S', 'splits', 'rows', 'blocks', 'GS', 'NC', 'P', 'W')
FLOATS = ('eps', 'inv_S', 'inv_M', 'count', 'scale')
A = sizes(64, 128, 256 * 256, 32)  # of the full step: 256x256, 128 channels
ONE = sizes(2, 128, 1, 32)
NORM = dict(G=32, D=4, SILU=True, FAST=True, HAS_PRE=True)
POINTS = dict(C=128, BC=128, BS=16, EVEN=True)
CASES: list[tuple[str, str, int, dict[str, Any]]] = [
    ('group_norm', 'stats', 80, A['reduce']),
    ('group_norm', 'finish', 80, A['groups'] | dict(HAS_PRE=True)),
    ('group_norm', 'apply', 80, A['apply'] | NORM),
    ('group_norm', 'reduce', 90, A['reduce'] | NORM),
    ('group_norm', 'finish_b', 80, A['groups'] | dict(HAS_PRE=True)),
    ('group_norm', 'apply_b', 80, A['apply'] | NORM | dict(HAS_SKIP=True)),
    ('group_norm', 'apply_b', 90, sizes(64, 96, 1000, 32)['apply'] | NORM | dict(D=3, HAS_SKIP=False)),
    # One position: Triton makes constants of integers that are 1.
    ('group_norm', 'stats', 90, ONE['reduce'] | dict(S=1, splits=1)),
    ('group_norm', 'finish', 90, ONE['groups'] | dict(HAS_PRE=False, S=1, splits=1)),
    ('group_norm', 'apply', 90, ONE['apply'] | NORM | dict(S=1, blocks=1)),
    ('group_norm', 'reduce', 80, ONE['reduce'] | NORM | dict(S=1, splits=1)),
    ('group_norm', 'finish_b', 90, ONE['groups'] | dict(HAS_PRE=True, splits=1)),
    ('group_norm', 'apply_b', 80, ONE['apply'] | NORM | dict(HAS_SKIP=True, S=1, blocks=1)),
    ('pointwise', 'upsample_b', 80, POINTS | dict(W=1)),
    ('feature_distance', 'distance', 90, dict(C=64, BC=64, BS=32, S=1, splits=1)),
    ('pointwise', 'upsample', 80, POINTS),
    ('pointwise', 'upsample_b', 90, POINTS | dict(C=96, EVEN=False)),
    ('pointwise', 'residual_sum', 80, POINTS),
    ('feature_distance', 'distance', 80, dict(C=64, BC=64, BS=32)),
    ('feature_distance', 'distance_b', 90, dict(C=512, BC=512, BS=4)),
]


def kind(name: str) -> str:
    if name in NUMBERS:
        return 'i32'
    return 'fp32' if name in FLOATS else '*bf16' if name in HALVES else '*fp32'


@pytest.mark.parametrize(('file', 'name', 'capability', 'constants'), CASES)
def test_compiles_without_spilling(file: str, name: str, capability: int, constants: dict[str, Any]) -> None:
    warps = constants.get('num_warps', WARPS)
    kernel = getattr(load_kernels(file), name)
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
    signature = {key: kind(key) for key in kernel.arg_names if key not in constants}
    compiled = compile_kernel(kernel, signature, constants, capability, num_warps=warps)
    compiled.check()
    assert compiled.registers <= 168  # three blocks of 128 threads in a multiprocessor
