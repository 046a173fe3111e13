"""Compile a Triton kernel for a card that is not there, and ask what it takes: shared memory, registers, spills."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SHARED_KIB = {80: 163, 90: 227}  # that one block may have: A100, H100
SPILLS = re.compile(r'(\d+) bytes spill stores, (\d+) bytes spill loads')
REGISTERS = re.compile(r'Used (\d+) registers')


@dataclass(frozen=True)
class Compiled:
    """What a kernel takes on a card of compute capability `arch` (80 or 90).

    Args:
        shared_bytes: Shared memory of a block, all of which the kernel asks for at its launch.
        registers: Of a thread.
        spill_bytes: Registers written to local memory and read back.
        ptx: The assembly.
    """

    arch: int
    shared_bytes: int
    registers: int
    spill_bytes: int
    ptx: str

    def check(self, spill_bytes: int = 0) -> None:
        """Assert that shared memory is there for one block, and that no more than so much is spilled."""
        assert self.shared_bytes <= SHARED_KIB[self.arch] * 1024, f'sm_{self.arch}: {self.shared_bytes} bytes shared'
        assert self.spill_bytes <= spill_bytes, f'sm_{self.arch}: {self.spill_bytes} bytes spilled'


def compile_kernel(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    arch: int,
    divisible: Iterable[str] = (),
    **options: int,
) -> Compiled:
    """Compile `kernel` for sm_`arch` with the compiler and assembler that come with Triton; skips where there is none.

    Args:
        kernel: What `triton.jit` made, `triton.autotune` and `heuristics` around it or not.
        signature: Types of the parameters that are no constants: `{'x_ptr': '*bf16', 'rows': 'i32', 'eps': 'fp32'}`.
        constants: Values of those that are: `tl.constexpr`, and parameters that are None.
        divisible: Integers that are multiples of 16 at the launch. Pointers always are taken to be, as PyTorch's are.
        options: `num_warps`, `num_stages`, `maxnreg`.

    Raises:
        AssertionError: A parameter without a type or value.
    """
    triton = pytest.importorskip('triton', reason='Triton comes with torch on Linux only')
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.autotuner import Autotuner, Heuristics
    from triton.runtime.jit import JITFunction

    while isinstance(kernel, Autotuner | Heuristics):
        kernel = kernel.fn
    if not isinstance(kernel, JITFunction):
        pytest.skip('TRITON_INTERPRET was set when the kernel was imported')
    names = kernel.arg_names
    missing = set(names) ^ {*signature, *constants}
    assert not missing, f'types and constants do not fit the parameters of {kernel.__name__}: {sorted(missing)}'
    aligned = [name for name, kind in signature.items() if kind.startswith('*') or name in set(divisible)]
    source = ASTSource(
        kernel,
        {name: signature.get(name, 'constexpr') for name in names},
        {(names.index(name),): value for name, value in constants.items()},
        {(names.index(name),): [['tt.divisibility', 16]] for name in aligned},
    )
    built = triton.compile(source, target=GPUTarget('cuda', arch, 32), options=options)
    registers, spills = assembled(built.asm['ptx'], options)
    return Compiled(arch, built.metadata.shared, registers, spills, built.asm['ptx'])


def assembled(ptx: str, options: Mapping[str, int]) -> tuple[int, int]:
    """Registers and bytes of spills that the assembler reports."""
    import triton

    target = re.search(r'\.target\s+(\w+)', ptx)
    assert target is not None
    limit = [f'--maxrregcount={options["maxnreg"]}'] if options.get('maxnreg') else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'kernel.ptx')
        path.write_text(ptx)
        command = [
            triton.knobs.nvidia.ptxas.path,
            '-v',
            *limit,
            f'--gpu-name={target[1]}',
            str(path),
            '-o',
            f'{path}.cubin',
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    (registers,), (spills,) = REGISTERS.findall(done.stderr), SPILLS.findall(done.stderr)
    return int(registers), max(map(int, spills))
