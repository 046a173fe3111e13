"""A package outside the repository adds a projector, a quantizer, a 1-D tokenizer and a masked generator, one file each.

The commands train them, save them, load them and draw images, and nothing in the repository changes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from .helpers import REPO

pytestmark = pytest.mark.processes

FILES = ('outside_projector', 'outside_quantizer', 'outside_tokenizer', 'outside_generator')
TOKENIZER = """
base = 'configs/fvq/fvq_photos.py'
model = dict(
    tokenizer=dict(
        encoder=dict(_delete_=True, type='OutsideEncoder'),
        quantizer=dict(
            _delete_=True, type='OutsideQuantizer', codebook_size=32, code_dim=16, projector=dict(type='OutsideProjector')
        ),
        decoder=dict(_delete_=True, type='OutsideDecoder'),
        quant_kernel=0,
    )
)
train_dataloader = dict(batch_size=2)
val_dataloader = dict(dataset=dict(crops=4))
train_cfg = dict(max_iters=4)
default_hooks = dict(training_log=dict(interval=2), report=dict(dataset=None))  # its decoder knows one size of images
"""
GENERATOR = """
base = 'configs/generation/llamagen_photos.py'
model = dict(
    generator=dict(
        _delete_=True,
        type='TinyMasked',
        layout=dict(type='Sequence', length=6, codebook_size=32),
        num_classes=10,
    )
)
train_dataloader = dict(batch_size=4, dataset=dict(root='codes'))
train_cfg = dict(max_iters=4)
default_hooks = dict(report=dict(sampling=dict(cfg_scale=1.5, steps=2)), training_log=dict(interval=2))
"""
COMMANDS = (
    ('train', 'one_d.py'),
    ('extract_codes', 'work_dirs/one_d/tokenizer', 'bundled', 'codes', '--size', '64', '--crops', 'random', '2'),
    ('train', 'masked.py'),
    (
        *(
            'sample',
            'work_dirs/masked/generator',
            'work_dirs/one_d/tokenizer',
            '--num',
            '4',
            '--choice-temperature',
            '0.5',
        ),
        *('--images', '--out', 'samples'),
    ),
)
# Every command in one process, as if each had been started by itself: most of the time goes into imports.
DRIVER = """
import json, runpy, sys
for name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [f'{tools}/{{name}}.py', *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the installed package: four modules, and the metadata with their entry points."""
    folder = tmp_path / 'site'
    shutil.copytree(Path(__file__).parent / 'outside', folder, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(REPO / 'tests/contracts/masked_generator.py', folder / 'outside_generator.py')
    metadata = folder / 'fvq_outside-1.0.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text('Metadata-Version: 2.1\nName: fvq-outside\nVersion: 1.0\n')
    points = '\n'.join(f'{name} = {name}' for name in FILES)
    (metadata / 'entry_points.txt').write_text(f'[fvq.components]\n{points}\n')
    return folder


def repository() -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file of ours."""
    folders = [REPO / name for name in ('packages', 'configs', 'tools', 'docs')]
    files = [path for folder in folders for path in folder.rglob('*') if path.is_file() and path.suffix != '.pyc']
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_one_file_each_is_trained_saved_loaded_and_drawn_from(site: Path, tmp_path: Path):
    before = repository()
    (tmp_path / 'one_d.py').write_text(TOKENIZER)
    (tmp_path / 'masked.py').write_text(GENERATOR)
    path = os.pathsep.join([str(site), os.environ.get('PYTHONPATH', '')])
    command = [sys.executable, '-c', DRIVER.format(tools=REPO / 'tools'), json.dumps(COMMANDS)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tokenizer = json.loads((tmp_path / 'work_dirs/one_d/tokenizer/config.json').read_text())['tokenizer']
    assert tokenizer['quantizer']['type'] == 'OutsideQuantizer'
    assert tokenizer['encoder']['type'] == 'OutsideEncoder'
    saved = json.loads((tmp_path / 'work_dirs/masked/generator/config.json').read_text())
    assert (saved['generator']['type'], saved['sampling']['steps']) == ('TinyMasked', 2)
    images = sorted((tmp_path / 'samples/images').glob('*.png'))
    assert len(images) == 4
    with Image.open(images[0]) as image:
        assert image.size == (64, 64)
    assert repository() == before
