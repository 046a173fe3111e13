"""A component takes one file: every room imports what lies in it, and what training needs only when it is looked up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
# Each room of docs/architecture.md where a new component goes, and the registry of its kind.
ROOMS = {
    'fvq_core/autoencoders': 'ENCODERS',
    'fvq_core/losses': 'LOSSES',
    'fvq_core/losses/discriminators': 'DISCRIMINATORS',
    'fvq_core/data': 'DATASETS',
    'fvq_core/training/hooks': 'HOOKS',
    'fvq_core/training/schedules': 'PARAM_SCHEDULERS',
    'fvq_core/training/tasks': 'MODELS',
    'fvq_quantizers': 'QUANTIZERS',
    'fvq_quantizers/distances': 'DISTANCES',
    'fvq_quantizers/estimators': 'ESTIMATORS',
    'fvq_quantizers/inits': 'CODEBOOK_INITS',
    'fvq_quantizers/interop': 'IMPORTERS',
    'fvq_quantizers/losses': 'QUANTIZER_LOSSES',
    'fvq_quantizers/normalizations': 'NORMALIZATIONS',
    'fvq_quantizers/projectors': 'PROJECTORS',
    'fvq_quantizers/regularizers': 'REGULARIZERS',
    'fvq_quantizers/updates': 'CODEBOOK_UPDATES',
    'fvq_generators': 'GENERATORS',
    'fvq_generators/data': 'DATASETS',
    'fvq_generators/interop': 'IMPORTERS',
    'fvq_generators/tasks': 'MODELS',
    'fvq_eval/features': 'FEATURE_EXTRACTORS',
    'fvq_eval/hooks': 'HOOKS',
    'fvq_eval/metrics': 'METRICS',
    'fvq/remote_data': 'DATASETS',
    'fvq/tracking': 'VISUALIZER_BACKENDS',
}
COMPONENT = 'from fvq_core.registry import {0}\n\n\n@{0}.register_module(name={1!r})\nclass Dropped:\n    pass\n'


@pytest.mark.processes
def test_a_file_dropped_into_a_room_is_registered(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    for package in (REPO / 'packages').glob('*/src'):
        shutil.copytree(package, source, ignore=shutil.ignore_patterns('__pycache__'), dirs_exist_ok=True)
    for room, registry in ROOMS.items():
        (source / room / 'dropped.py').write_text(COMPONENT.format(registry, f'dropped in {room}'))
    code = 'from fvq_core import registry\n' + ''.join(
        f'if registry.{name}.registered({f"dropped in {room}"!r}) is None: print({room!r})\n'
        for room, name in ROOMS.items()
    )
    env = {**os.environ, 'PYTHONPATH': str(source)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('\n')[:-1] == [], 'these rooms did not register the file in them'


@pytest.mark.processes
def test_loading_all_packages_imports_neither_runner_nor_compiler() -> None:
    code = (
        'import sys\nfrom fvq_core.registry import TOKENIZERS, load_plugins\nassert not load_plugins()\nTOKENIZERS.names()\n'
        "print('mmengine.runner' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['False', 'False']
