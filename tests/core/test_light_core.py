"""Core's plain install is enough to load and run a tokenizer, and loading one imports little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from fvq_core.images import to_uint8

from ..tiny import random_images, tiny_tokenizer

# What the extras [train] and [photos] install, and what only projectors and metrics need.
ABSENT = (
    *('cv2', 'lpips', 'matplotlib', 'skimage', 'sklearn', 'tensorboard', 'torchvision'),
    *('fvcore', 'fvq_eval', 'fvq_generators', 'scipy', 'timm', 'torch_fidelity'),
)
RUN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {absent}:
            raise ModuleNotFoundError(f'{{name}} is not installed in this test', name=name)

sys.meta_path.insert(0, Refuse())
import warnings
import torch
warnings.filterwarnings('ignore', 'FVQ plug-in')  # the other packages are not there
from fvq_core.tokenizer import Tokenizer
tokenizer = Tokenizer.from_pretrained({folder!r})
with torch.no_grad():
    codes = tokenizer.encode(torch.load({images!r}))
    torch.save(tokenizer.decode(codes), {images!r})
print('torch._dynamo' in sys.modules, 'mmengine.runner' in sys.modules)
"""


def test_a_tokenizer_runs_without_what_training_installs(tmp_path: Path):
    tokenizer, images = tiny_tokenizer().fold(), random_images()
    folder, file = tokenizer.save_pretrained(tmp_path / 'tokenizer'), tmp_path / 'images.pt'
    torch.save(images, file)
    code = RUN.format(absent=set(ABSENT), folder=str(folder), images=str(file))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ['False', 'False'], 'compiler or runner was imported: seconds that nobody needs'
    with torch.no_grad():
        assert torch.equal(to_uint8(torch.load(file)), to_uint8(tokenizer.decode(tokenizer.encode(images))))


def test_core_and_configs_import_without_what_training_installs():
    modules = ('codes', 'images', 'nearest_code', 'registry', 'data', 'config.read', 'interop.convert')
    code = RUN.format(absent=set(ABSENT), folder='', images='').partition('from fvq_core')[0]
    code += '\n'.join(f'import fvq_core.{module}' for module in modules)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
