"""Bad input costs one clear line and exit code 2: no traceback, nothing half-written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fvq.commands import convert, export
from fvq_core.commands import train
from fvq_eval.commands import reconstruct, report, test, zoo
from fvq_generators.commands import extract_codes

from ..tiny import tiny_tokenizer
from .helpers import PHOTOS, REPO


class Attack:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (open, (self.path, 'w'))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], command: object, *arguments: str) -> str:
    """The one line that a command prints before it exits with 2."""
    before = set(Path().rglob('*'))
    code = command.main(arguments)  # type: ignore[attr-defined]
    error = capsys.readouterr().err
    assert code == 2, error
    assert set(Path().rglob('*')) == before, 'something was written'
    lines = [line for line in error.splitlines() if line]
    assert len(lines) == 1, error
    assert lines[0].startswith('error: ')
    return lines[0]


def save_images(folder: str, count: int, size: int) -> None:
    Path(folder).mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f'{folder}/{number}.png')


FOLDER = [
    'train_dataloader.dataset.type=ImageFolder',
    'train_dataloader.dataset.root=images',
]


def folder_config(size: int) -> str:
    """A config of one's own on an image folder."""
    text = f"""
base = 'configs/fvq/fvq_photos.py'
data = dict(_delete_=True, type='ImageFolder', root='images', transforms=[dict(type='ADMCenterCrop', size={size})])
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
del data
"""
    Path('mine.py').write_text(text)
    return 'mine.py'


@pytest.mark.parametrize(
    ('option', 'hint'),
    [
        ('train_cfg.max_iter=5', "did you mean 'max_iters'?"),
        ('model.tokenizer.quantizer.projector.patchsize=8', "did you mean 'patch_size'?"),
        ('trian_cfg.max_iters=5', "did you mean 'train_cfg'?"),
        ('default_hooks.checkpoint.intervall=5', "did you mean 'interval'?"),
        ('optim_wrapper.optimizer.learning_rate=5', 'Adam'),
        ('model.tokenizer.quantizer.projector.type=VQBrigde', "did you mean 'VQBridge'?"),
        ('val_evaluator.9.type=PSNR', 'list of'),
        ('device=cuda', 'no usable GPU'),
        ('model.tokenizer.quantizer.codebook_size=1022', 'not a multiple of patch_size 8'),
        ('train_dataloader.dataset.crop_size=66', 'multiples of 4'),
        ('train_dataloader.dataset.crop_size=512', 'smaller than the 512x512 crop'),
        ('train_dataloader.batch_size=0', 'batch_size'),
        ('train_cfg.max_iters=0', 'max_iters'),
        ('param_scheduler.decay=linaer', "did you mean 'linear'?"),
        ('model.tokenizer.quantizer.update.type=EMAUpdate', 'identity'),
    ],
)
def test_options_that_cannot_work(option: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    if option == 'device=cuda' and torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    if option.startswith('optim_wrapper'):
        hint = "'learning_rate'"
    assert hint in refused(capsys, train, PHOTOS, '--cfg-options', option)


def test_a_config_that_does_not_exist_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = str(REPO / 'configs/fvq/fvq_photo.py')
    assert "did you mean 'fvq_photos.py'?" in refused(capsys, train, wrong)


def test_a_config_with_a_syntax_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path('broken.py').write_text('model = dict(\n')
    assert 'broken.py cannot be loaded' in refused(capsys, train, 'broken.py')


def test_a_config_that_exits(capsys: pytest.CaptureFixture[str]) -> None:
    Path('leaving.py').write_text('import sys\nsys.exit(3)\n')
    assert 'leaving.py cannot be loaded: line 2: SystemExit: 3' in refused(capsys, train, 'leaving.py')


def test_missing_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'images' is not a folder" in refused(capsys, train, folder_config(64))
    Path('images').mkdir()
    assert 'no image' in refused(capsys, train, folder_config(64))


def test_an_image_smaller_than_the_crop(capsys: pytest.CaptureFixture[str]) -> None:
    save_images('images', 3, 40)
    assert 'the image is 40x40, smaller than the 64x64 crop' in refused(capsys, train, folder_config(64))


def test_checkpoints_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'does not exist' in refused(capsys, test, PHOTOS, 'iter_5.pth')
    Path('text.pth').write_text('not a checkpoint')
    assert 'not a checkpoint' in refused(capsys, export, 'text.pth', 'out')
    torch.save({'model': {'weight': torch.zeros(1)}}, 'peer.pth')
    assert "has no 'state_dict'" in refused(capsys, test, PHOTOS, 'peer.pth')
    torch.save({'state_dict': {'weight': torch.zeros(1)}}, 'other.pth')
    assert 'weights of another model' in refused(capsys, test, PHOTOS, 'other.pth')
    assert 'carries no config' in refused(capsys, export, 'other.pth', 'out')
    assert 'does not exist' in refused(capsys, train, PHOTOS, '--resume', 'iter_7.pth')


@pytest.mark.parametrize('save', [torch.save, lambda content, path: Path(path).write_bytes(pickle.dumps(content))])
def test_a_pickled_attack_is_refused_and_not_run(save: object, capsys: pytest.CaptureFixture[str]) -> None:
    save({'state_dict': {}, 'attack': Attack('pwned')}, 'attack.pth')  # type: ignore[operator]
    for command, arguments in (
        (test, (PHOTOS, 'attack.pth')),
        (export, ('attack.pth', 'out')),
        (convert, ('llamagen', 'attack.pth', 'out')),
        (train, (PHOTOS, '--resume', 'attack.pth')),
    ):
        assert 'attack.pth' in refused(capsys, command, *arguments)
    assert not Path('pwned').exists()


def test_convert_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({'model': {'weight': torch.zeros(1)}}, 'peer.pth')
    assert "did you mean 'llamagen'?" in refused(capsys, convert, 'lamagen', 'peer.pth', 'out')
    assert 'not a tokenizer' in refused(capsys, convert, 'llamagen', 'peer.pth', 'out')


def test_reconstruct_refuses_bad_images_before_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'is not a saved tokenizer' in refused(capsys, reconstruct, 'nowhere', 'a.png', '--out', 'out')
    Path('photos').mkdir()
    for image, message in (
        ('photos', 'photos is a folder; give the image files in it'),
        ('a.png', 'a.png does not exist'),
    ):
        assert message in refused(capsys, reconstruct, 'fvq_photos', image, '--out', 'out')


def test_a_work_dir_that_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path('taken').write_text('')
    assert 'is a file' in refused(capsys, train, PHOTOS, '--work-dir', 'taken')


def test_an_option_that_does_not_exist_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main((PHOTOS, '--sed', '3', '--worc-dir', 'work'))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: unrecognized arguments: --sed 3 --worc-dir work; did you mean '--seed'?; tools/train.py --help"
    )


def test_a_list_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'nothing is called nonsense; name the start of a path' in refused(capsys, zoo, 'nonsense')


def test_a_folder_below_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path('work').mkdir()
    Path('work/metrics.json').write_text('{}')
    Path('taken').write_text('')
    assert 'taken/report: Not a directory; choose another path' in refused(
        capsys, report, 'work', '--out', 'taken/report'
    )


def test_training_stops_at_a_non_finite_loss_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    options = ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler.warmup=0', 'train_dataloader.batch_size=2']
    code = train.main((PHOTOS, '--work-dir', 'work', '--cfg-options', *options))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert error.startswith('error: iteration ')
    assert 'latents of image 0 are not finite' in error or 'the loss is not finite (total' in error
    assert 'checkpoint' in error


def test_broken_weights_give_neither_codes_nor_pictures_nor_scores(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_tokenizer()
    with torch.no_grad():
        tokenizer.encoder.conv_in.weight[0] = float('nan')
    with pytest.warns(UserWarning, match='refused when it is loaded'):
        tokenizer.save_pretrained('broken')
    save_images('images', 2, 32)
    options = ['--size', '16', '--crops', 'center', '--workers', '0', '--device', 'cpu']
    for command, arguments in (
        (extract_codes, ['broken', 'images', 'codes', *options]),
        (reconstruct, ['broken', 'images/0.png', '--out', 'pictures']),
        (test, [PHOTOS, 'broken', '--cfg-options', 'device=cpu']),
    ):
        assert "model.safetensors: 'encoder.conv_in.weight' is not finite" in refused(capsys, command, *arguments)
