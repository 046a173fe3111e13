"""`tools/train.py CONFIG --init-from TOKENIZER [--freeze ...] [--fresh ...]` as a user calls it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from fvq_core.codes import Codes
from fvq_core.commands import train
from fvq_core.config.read import load_config
from fvq_core.files.json import read_json
from fvq_core.registry import MODELS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.commands import reconstruct

from ..tiny import random_images

CONFIG = str(Path(__file__).parents[2] / 'configs/tuning/tenth_photo.py')
SHORT = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=2', 'val_dataloader.dataset.crops=2', 'device=cpu']


@pytest.fixture(scope='module')
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    tokenizer = MODELS.build(load_config(CONFIG).model).tokenizer
    torch.nn.init.normal_(tokenizer.quantizer.embedding, std=0.3)
    return tokenizer.save_pretrained(tmp_path_factory.mktemp('saved') / 'tokenizer')


def tune(saved: Path, work_dir: Path, *arguments: str, options: tuple[str, ...] = ()) -> int:
    where = [CONFIG, '--init-from', str(saved), '--work-dir', str(work_dir)]
    return train.main([*where, *arguments, '--cfg-options', *SHORT, *options])


def test_the_decoder_alone_is_tuned_and_every_code_stays(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(saved, tmp_path, '--freeze', 'encoder', 'quantizer') == 0
    assert f'started from {saved}: tokenizer' in capsys.readouterr().out
    before, after = Tokenizer.from_pretrained(saved), Tokenizer.from_pretrained(tmp_path / 'tokenizer')
    changed = {
        key.split('.')[0] for key, value in before.state_dict().items() if (after.state_dict()[key] != value).any()
    }
    assert changed == {'decoder', 'post_quant'}
    images = random_images(2, 32, 48)
    assert torch.equal(after.encode(images).indices_BL, before.encode(images).indices_BL)


def test_old_codes_of_a_grown_codebook_decode_as_before_after_training_around_them(saved: Path, tmp_path: Path) -> None:
    grown = 'model.tokenizer.quantizer.codebook_size=1100'
    assert tune(saved, tmp_path, '--freeze', 'quantizer', 'decoder', options=(grown,)) == 0
    before, after = Tokenizer.from_pretrained(saved), Tokenizer.from_pretrained(tmp_path / 'tokenizer')
    codes = before.encode(random_images(2, 32, 48))
    pixels = after.decode(Codes(codes.indices_BL, after.layout(32, 48)))
    assert torch.equal(pixels, before.decode(codes))
    assert len(after.quantizer.codebook()) == 1100


@pytest.mark.parametrize(
    ('arguments', 'options', 'said'),
    [
        (
            ['--freeze', 'encodr'],
            [],
            r"model\.freeze: Tokenizer has no part 'encodr'; it has encoder, quantizer, decoder\.$",
        ),
        (['--freeze', 'encoder', 'quantizer', 'decoder'], [], r'frozen, nothing of Tokenizer is trained\.$'),
        (
            ['--freeze', 'decoder', '--fresh', 'decoder'],
            [],
            r'decoder would stay at its initial values, which .*tokenizer',
        ),
        (
            ['--fresh', 'head'],
            [],
            r"load_fresh: Tokenizer has no part 'head'; it has encoder, quantizer, decoder, pre_quant",
        ),
        (
            [],
            ['model.tokenizer.decoder.ch=32'],
            r'another model: .*\(decoder\..*; --fresh decoder trains these from scratch',
        ),
        (
            [],
            ['model.tokenizer.quantizer.code_dim=32'],
            r'--fresh .*post_quant pre_quant quantizer trains these from scratch',
        ),
    ],
)
def test_what_does_not_fit_costs_a_line_and_no_folder(
    arguments: list[str], options: list[str], said: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(saved, tmp_path / 'new', *arguments, options=tuple(options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / 'new').exists()


def test_fresh_without_a_start_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([CONFIG, '--fresh', 'decoder', '--work-dir', str(tmp_path / 'new')]) == 2
    assert '--fresh decoder: nothing is loaded; name the weights with --init-from' in capsys.readouterr().err


def test_fresh_parts_of_a_config_that_names_its_start_need_no_other() -> None:
    config = str(Path(__file__).parents[2] / 'configs/baselines/titok_b64.py')
    cfg = train.read_config(train.train_parser().parse_args([config, '--fresh', 'decoder']))
    assert (cfg.load_from, cfg.load_fresh) == ('work_dirs/titok_b64_stage1/tokenizer', ['decoder'])


def test_tokenizers_are_compared_on_a_photo(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = MODELS.build(load_config(CONFIG).model).tokenizer.save_pretrained(tmp_path / 'other')
    command = [str(saved), 'bundled:coffee', '--max-side', '64', '--out', str(tmp_path / 'out'), '--device', 'cpu']
    assert reconstruct.main([*command, '--beside', str(other)]) == 0
    assert f'bundled:coffee, {other}: PSNR ' in capsys.readouterr().out
    scores = read_json(tmp_path / 'out/scores.json')['bundled:coffee']
    assert scores['beside'][str(other)].keys() == {'psnr', 'ssim'}
    with Image.open(tmp_path / 'out/coffee.png') as picture:
        assert picture.size == (3 * 64, 40)
    assert reconstruct.main([str(saved), 'bundled:tea', '--out', str(tmp_path / 'none')]) == 2
    assert 'bundled: photos must be some of astronaut, chelsea, coffee' in capsys.readouterr().err
