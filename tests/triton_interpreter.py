"""Tests of Triton kernels on a CPU: a file of them runs in a process of its own, in Triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported, which another test may have done. Such a file is not named `test_*`; a test
calls `run_interpreted` with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_interpreted(file: str, *options: str) -> None:
    """Run the tests of a file beside this one or below, with all kernels switched on; its failures are ours."""
    env = {**os.environ, 'TRITON_INTERPRET': '1', 'FVQ_KERNELS': 'all'}
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        '-p',
        'tests.triton_interpreter',
        *options,
    ]
    root = Path(__file__).parents[1]
    done = subprocess.run([*command, f'tests/{file}'], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def scalars_are_indices() -> None:
    """Let kernels say `range(scalar)`: Triton 3.6 calls int() on an array of one number, which NumPy 2.4 refuses."""
    from triton.runtime import interpreter

    before = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        before(tensor, scope)
        scope.set_attr(tensor, '__index__', lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch


if os.environ.get('TRITON_INTERPRET') == '1':
    scalars_are_indices()
