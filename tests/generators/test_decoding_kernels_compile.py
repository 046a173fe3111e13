"""The kernels of decoding compile without a card, for the oldest that runs them (sm_80) and for sm_90."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fvq_generators.ops.draw import BLOCK, ONE
from fvq_generators.ops.few_rows import DIRECT_ROWS, tiles

triton = pytest.importorskip('triton')
pytestmark = pytest.mark.processes  # it compiles for half a minute

SHARED = 163 * 1024  # bytes that a block may have on an A100
HALVES = ('x', 'norm', 'weight', 'residual', 'q', 'keys', 'values')
OTHERS = dict(position='*i64', visible='*i1', uniforms='*fp64', eps='fp32', scale='fp32', temperature='fp32')
NUMBERS = ('R', 'N', 'H', 'KV', 'T', 'row_stride', 'splits')
INSTRUCTION = 'mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32'
ROWS = (2, 32, 128)  # as many as one image, 16 and 64 with guidance


def signature(name: str, out: str) -> str:
    if name == 'out':
        return out
    return OTHERS.get(name) or ('i32' if name in NUMBERS else '*bf16' if name in HALVES else '*fp32')


def compiled(kernel: Any, capability: int, constants: dict[str, Any], out: str = '*bf16', warps: int = 4) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = {name: 'constexpr' if name in constants else signature(name, out) for name in kernel.arg_names}
    aligned = {(i,): [['tt.divisibility', 16]] for i, kind in enumerate(kinds.values()) if kind.startswith('*')}
    found = triton.compile(
        ASTSource(kernel, kinds, constants, aligned),
        target=GPUTarget('cuda', capability, 32),
        options=dict(num_warps=warps),
    )
    assert found.metadata.shared <= SHARED
    with tempfile.NamedTemporaryFile(suffix='.cubin') as cubin:
        cubin.write(found.asm['cubin'])
        cubin.flush()
        tool = Path(triton.__path__[0]) / 'backends/nvidia/bin/cuobjdump'
        usage = subprocess.run([tool, '-res-usage', cubin.name], capture_output=True, text=True, check=True).stdout
    assert re.search(r'\bLOCAL:0\b', usage), f'registers spill: {usage}'
    return found


@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize(
    ('name', 'constants', 'out'),
    [
        ('project', dict(D=1024, NORM=True, GATED=True, RESIDUAL=False, residual=None), '*bf16'),
        ('project', dict(D=2816, NORM=False, GATED=False, RESIDUAL=True, norm=None), '*bf16'),
        ('project', dict(D=3200, NORM=True, GATED=True, RESIDUAL=False, residual=None), '*bf16'),
        ('project_qkv', dict(D=1024, NORM=True, ROTATED=True, HALF=32), '*bf16'),
        ('guided_logits', dict(D=1024, GUIDED=True), '*fp32'),
    ],
    ids=str,
)
def test_a_row_is_summed_alike_in_every_batch(name: str, constants: dict[str, Any], out: str, capability: int):
    """Products of few and many rows are the same matrix instruction, which takes 16 channels after 16 channels."""
    from fvq_generators.ops.triton import projection

    for rows in ROWS:
        tile = tiles(rows)
        scaled = rows > DIRECT_ROWS and constants.get('NORM', True)
        given = constants | tile | dict(SCALED=scaled) | ({} if scaled else dict(scales=None))
        warps = given.pop('num_warps')
        ptx = compiled(getattr(projection, f'{name}_kernel'), capability, given, out, warps).asm['ptx']
        assert set(re.findall(r'(?:mma\.sync|wgmma\.mma_async)[\w.]*', ptx)) == {INSTRUCTION}


@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('HD', [64, 100])  # GPT-L to XXL, and 3B
def test_attention(HD: int, capability: int):
    from fvq_generators.ops.triton.decode_attention import attend_kernel, combine_kernel

    sizes = dict(HD=HD, BH=64 if HD == 64 else 128, CHUNK=64)
    for hidden in (False, True):
        hides = dict(VISIBLE=True) if hidden else dict(VISIBLE=False, visible=None)
        compiled(attend_kernel, capability, sizes | hides | dict(GROUP=1))
    compiled(combine_kernel, capability, sizes | dict(BS=8), warps=1)


@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize(('V', 'top_k', 'top_p'), [(16384, 0, 1.0), (262144, 2000, 0.9)])
def test_draw(V: int, top_k: int, top_p: float, capability: int):
    from fvq_generators.ops.triton.draw import draw_kernel

    given = dict(V=V, TOP_K=top_k, TOP_P=top_p, TEMPERED=True, ONE=ONE, BLOCK=BLOCK)
    compiled(draw_kernel, capability, given, '*i64', warps=16)


@pytest.mark.parametrize('capability', [80, 90])
def test_scales_of_many_rows(capability: int):
    from fvq_generators.ops.triton.products import inverse_rms_kernel

    compiled(inverse_rms_kernel, capability, dict(D=1024, BR=DIRECT_ROWS), '*fp32')
