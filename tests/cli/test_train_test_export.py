"""One run through the command line as a user makes it: train, test, export, reconstruct, and train again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.data.photos import load_photos
from fvq_core.images import from_uint8
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.load_task import load_task

from .helpers import PHOTOS, TINY, start_tool, tool

pytestmark = pytest.mark.processes


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `train.py` ran."""
    cwd = tmp_path_factory.mktemp('run')
    done = start_tool('train', PHOTOS, '--cfg-options', *TINY, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def test_training_leaves_what_the_readme_promises(run: Path) -> None:
    work_dir = run / 'work_dirs' / 'fvq_photos'
    names = {path.name for path in work_dir.iterdir()}
    promised = {'metrics.json', 'history.jsonl', 'config.py', 'reconstructions.png', 'curves.png', 'codebook.png'}
    assert promised | {'iter_9.pth', 'tokenizer'} <= names
    assert not any(name.endswith('.partial') for name in names)
    for picture in ('reconstructions.png', 'curves.png', 'codebook.png'):
        with Image.open(work_dir / picture) as image:
            assert np.asarray(image).std() > 5  # not blank


def test_metrics_are_stamped(run: Path) -> None:
    document = json.loads((run / 'work_dirs/fvq_photos/metrics.json').read_text())
    metrics = document['metrics']
    assert metrics['usage']['tokens'] == 4 * 256
    assert metrics['usage']['unit'] == '%'
    assert {'usage', 'usage_window', 'perplexity', 'psnr', 'ssim', 'quantization_error'} <= metrics.keys()
    for name, metric in metrics.items():
        assert metric['protocol'], name
        assert 'iter_9.pth' in metric['weights'], name
        assert 'samples' in metric, name
    assert document['seed'] == 0
    assert document['versions']['torch'] == torch.__version__
    assert document['config'].endswith('fvq_photos.py')


def test_the_log_tells_what_its_numbers_are_of(run: Path) -> None:
    (log,) = (run / 'work_dirs/fvq_photos').rglob('*.log')
    lines = log.read_text().splitlines()
    assert sum(' iter 4 evaluation (4 images, strict conventions): ' in line for line in lines) == 1
    (last,) = [line for line in lines if 'the exported model are in' in line]
    assert ' (4 images, strict conventions); pictures, ' in last


def test_test_py_repeats_the_numbers_of_training(run: Path) -> None:
    work_dir = run / 'work_dirs/fvq_photos'
    out = run / 'again' / 'metrics.json'
    done = tool('test', PHOTOS, str(work_dir / 'iter_9.pth'), '--out', str(out), '--cfg-options', *TINY, cwd=run)
    assert done.returncode == 0, done.stderr
    trained, tested = (json.loads(path.read_text())['metrics'] for path in (work_dir / 'metrics.json', out))
    for name, metric in tested.items():
        assert metric['value'] == trained[name]['value'], name
    assert 'usage' in done.stdout
    assert 'weights: ' in done.stdout


def test_test_py_takes_any_folder_of_images_for_the_evaluation_set(run: Path) -> None:
    for index, (name, photo) in enumerate(list(load_photos().items())[:3]):
        (run / 'folder').mkdir(exist_ok=True)
        Image.fromarray(photo).resize((80 + index, 70)).save(run / 'folder' / f'{name}.png')
    options = [option for option in TINY if not option.startswith('val_dataloader')]
    checkpoint, out = str(run / 'work_dirs/fvq_photos/iter_9.pth'), run / 'folder.json'
    arguments = [PHOTOS, checkpoint, '--data', 'folder', '--out', str(out), '--cfg-options', *options]
    assert tool('test', *arguments, cwd=run).returncode == 0
    usage = json.loads(out.read_text())['metrics']['usage']
    assert (usage['samples'], usage['tokens']) == (3, 3 * 256)


def test_the_exported_tokenizer_gives_the_same_codes_and_pixels(run: Path) -> None:
    path = run / 'work_dirs/fvq_photos/iter_9.pth'
    done = tool('export', str(path), 'exported', cwd=run)
    assert done.returncode == 0, done.stderr
    trained = load_task(read_checkpoint(path), str(path)).tokenizer.eval()
    exported = Tokenizer.from_pretrained(run / 'exported')
    images = from_uint8(torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8))
    with torch.no_grad():
        assert torch.equal(trained.encode(images).indices_BL, exported.encode(images).indices_BL)
        assert torch.equal(trained(images).reconstruction, exported.decode(exported.encode(images)))
    assert not any('projector' in key for key in exported.state_dict())


def test_reconstruct_writes_pictures_scores_and_codes(run: Path) -> None:
    Image.fromarray(load_photos()['chelsea'][:70, :101]).save(run / 'cat.png')
    Image.fromarray(load_photos()['coffee'][:64, :64, 0]).save(run / 'grey.png')
    done = tool('reconstruct', 'work_dirs/fvq_photos/tokenizer', 'cat.png', 'grey.png', '--out', 'out', cwd=run)
    assert done.returncode == 0, done.stderr
    with Image.open(run / 'out/cat.png') as pair:
        assert pair.size == (200, 68)  # original and reconstruction side by side, each cropped to multiples of 4
    codes = np.load(run / 'out/codes.npz')
    assert codes['cat'].shape == (17, 25)
    assert codes['grey'].shape == (16, 16)
    scores = json.loads((run / 'out/scores.json').read_text())
    assert scores['cat.png']['psnr'] > 5
    assert scores['cat.png']['protocol']['psnr']


def test_a_second_run_in_the_same_folder_sets_the_first_aside(run: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work_dirs/fvq_photos'
    shutil.copytree(run / 'work_dirs/fvq_photos', work_dir)
    before = (work_dir / 'history.jsonl').read_text()
    done = tool('train', PHOTOS, '--cfg-options', *TINY, 'train_cfg.max_iters=3', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (work_dir / 'previous_1/history.jsonl').read_text() == before
    assert (work_dir / 'previous_1/iter_9.pth').exists()
    assert not (work_dir / 'iter_9.pth').exists()
    assert (work_dir / 'iter_3.pth').exists()
