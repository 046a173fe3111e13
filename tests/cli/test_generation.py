"""From photos to scored samples through the command line, as `make sample` does it, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq.commands import convert
from fvq_core.commands import train
from fvq_core.images import to_uint8
from fvq_core.registry import GENERATORS, IMPORTERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.commands import evaluate
from fvq_eval.features.each_image import one_thread
from fvq_generators.commands import extract_codes, sample
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.image_sets import SamplePlan

from ..ranks import TwoRanks
from .helpers import tool_on_two_ranks

QUANTIZER = 'model.tokenizer.quantizer'
TINY_TOKENIZER = [
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'val_dataloader.dataset.crops=4',
    f'{QUANTIZER}.codebook_size=16',
]
TINY_GENERATOR = [
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'model.generator.layout.codebook_size=16',
    'model.generator.dim=32',
    'model.generator.depth=1',
]


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Work dirs of a tokenizer and of a generator on its codes, and the codes."""
    root = tmp_path_factory.mktemp('chain')
    tokenizer, codes, generator = root / 'tokenizer', root / 'codes', root / 'generator'
    call = ['configs/generation/codes_photos.py', '--work-dir', str(tokenizer), '--cfg-options', *TINY_TOKENIZER]
    assert train.main(call) == 0
    call = [str(tokenizer / 'tokenizer'), 'bundled', str(codes), '--size', '64', '--crops', 'random', '2']
    assert extract_codes.main([*call, '--flip', '--workers', '0']) == 0
    call = ['configs/generation/llamagen_photos.py', '--work-dir', str(generator), '--cfg-options']
    assert train.main([*call, f'train_dataloader.dataset.root={codes}', *TINY_GENERATOR]) == 0
    return tokenizer, codes, generator


@pytest.fixture(scope='module')
def parts(trained: tuple[Path, Path, Path]) -> list[str]:
    """The first arguments of `tools/sample.py`."""
    tokenizer, _, generator = trained
    return [str(generator / 'generator'), str(tokenizer / 'tokenizer')]


def drawn(folder: Path) -> np.ndarray:
    with np.load(folder / 'samples.npz') as file:
        return file['arr_0']


def test_samples_are_drawn_once_continued_and_scored(
    trained: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, _, generator = trained
    call = [str(generator / 'generator'), str(tokenizer / 'tokenizer'), '--npz', '--classes', '3', '8', '--top-k', '5']
    assert sample.main([*call, '--num', '6', '--out', str(tmp_path / 'a'), '--batch-size', '4']) == 0
    assert sample.main([*call, '--num', '10', '--out', str(tmp_path / 'a'), '--images']) == 0
    assert sample.main([*call, '--num', '6', '--out', str(tmp_path / 'b'), '--batch-size', '1']) == 0
    assert drawn(tmp_path / 'a').shape == (10, 64, 64, 3)
    difference = drawn(tmp_path / 'a')[:6].astype(int) - drawn(
        tmp_path / 'b'
    )  # a decoder rounds otherwise in another batch
    assert np.abs(difference).max() <= 1
    assert len(list((tmp_path / 'a' / 'images').iterdir())) == 10
    capsys.readouterr()
    checkpoint = str(generator / 'iter_2.pth')
    assert sample.main([checkpoint, *call[1:], '--num', '6', '--out', str(tmp_path / 'c')]) == 0
    assert np.abs(drawn(tmp_path / 'c').astype(int) - drawn(tmp_path / 'b')).max() <= 1
    assert 'rows are classes 3, 8' in capsys.readouterr().out

    out = tmp_path / 'scores.json'
    call = [
        str(tmp_path / 'a' / 'samples.npz'),
        '--reference',
        'bundled',
        '--crop',
        '64',
        '--out',
        str(out),
        '--no-cache',
    ]
    assert evaluate.main([*call, '--extractor', 'RandomFeatures']) == 0
    metrics = json.loads(out.read_text())['metrics']
    assert any('fd_random' in name for name in metrics)
    assert all(metric['samples'] < metric['required'] for metric in metrics.values())


def test_another_tokenizer_or_other_settings_are_refused(
    trained: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, codes, generator = trained
    other = tmp_path / 'other'
    call = ['configs/generation/codes_photos.py', '--work-dir', str(other), '--seed', '1']
    assert train.main([*call, '--cfg-options', *TINY_TOKENIZER]) == 0
    out = str(tmp_path / 'out')
    assert sample.main([str(generator / 'generator'), str(other / 'tokenizer'), '--num', '2', '--out', out]) == 2
    assert 'its codes mean other pixels' in capsys.readouterr().err
    call = [str(generator / 'generator'), str(tokenizer / 'tokenizer'), '--num', '2', '--out', out]
    assert sample.main(call) == 0
    assert sample.main([*call, '--seed', '1']) == 2
    assert 'drawn in another way (seed is 0 there, 1 now)' in capsys.readouterr().err
    assert sample.main([*call, '--classes', '10']) == 2
    assert 'numbers from 0 to 9' in capsys.readouterr().err
    assert train.main(['configs/generation/llamagen_photos.py', '--work-dir', str(tmp_path / 'g'), '--cfg-options',
                       f'train_dataloader.dataset.root={codes}']) == 2  # fmt: skip
    assert 'set model.generator.layout to' in capsys.readouterr().err


def test_two_processes_draw_the_bytes_of_one_into_a_fresh_folder(
    two_ranks: TwoRanks, parts: list[str], tmp_path: Path
) -> None:
    call = [*parts, '--num', '40', '--classes', 'random', '--npz', '--device', 'cpu', '--out']
    with one_thread():  # as each of the two processes
        assert sample.main([*call, str(tmp_path / 'one')]) == 0
    both = tool_on_two_ranks(two_ranks, 'sample', *call, str(tmp_path / 'two'))
    assert [done.returncode for done in both] == [0, 0], both
    assert ['40 images; score it with tools/evaluate.py' in done.stdout for done in both] == [True, False]
    assert drawn(tmp_path / 'two').shape == (40, 64, 64, 3)
    assert len({image.tobytes() for image in drawn(tmp_path / 'two')}) == 40
    assert np.array_equal(drawn(tmp_path / 'one'), drawn(tmp_path / 'two'))
    for name in ('grid.png', 'shards/samples.json', 'shards/shard-00000.npy', 'shards/shard-00002.npy'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert not list(tmp_path.rglob('.*'))

    for done in tool_on_two_ranks(two_ranks, 'sample', *call, str(tmp_path / 'two'), '--seed', '1'):
        assert done.returncode == 2
        assert done.stderr.startswith('error: ')
        assert 'drawn in another way (seed is 0 there, 1 now); name another folder' in done.stderr


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--cfg', '0.5'], 'cfg_scale must be a finite number from 1'),
        (['--top-k', '-1'], 'top_k'),
        (['--top-p', '0'], 'top_p'),
        (['--temperature', '-1'], 'temperature must be 0'),
        (['--cfg-interval', '-2'], 'cfg_interval must be a whole number from -1'),
        (['--batch-size', '0'], '--batch-size takes 1 or more images, got 0'),
        (['--batch-size', '-1'], '--batch-size takes 1 or more images, got -1'),
        (['--classes', '\u00b2'], "--classes takes numbers from 0 to 9, or 'all', or 'random'; got '\u00b2'"),
        (['--num', '0'], 'images must be 1 or more, got 0'),
        (['--seed', '-1'], 'seed must be 0 or more, got -1'),
    ],
)
def test_a_refused_request_is_one_line_and_leaves_the_folder_for_a_better_one(
    options: list[str], message: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = [*parts, '--num', '2', '--out', str(tmp_path / 'out')]
    assert sample.main([*call, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_images_that_fewer_are_asked_of_are_fewer(parts: list[str], tmp_path: Path) -> None:
    call = [*parts, '--images', '--out', str(tmp_path)]
    for number in (6, 3, 4):
        assert sample.main([*call, '--num', str(number)]) == 0
        assert len(list((tmp_path / 'images').iterdir())) == number


def test_converting_lists_the_generators_that_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        convert.main(['--help'])
    out = ''.join(capsys.readouterr().out.split())  # lines break after hyphens
    assert {'llamagen', 'llamagen-gpt', 'maskgit-vq', 'titok', 'vit-vqgan'} <= set(IMPORTERS.names())
    assert ','.join(IMPORTERS.names()) in out


@pytest.fixture
def from_captions(parts: list[str], tmp_path: Path) -> list[str]:
    """A generator of captions for the same tokenizer, beside three captions of one to three vectors."""
    torch.manual_seed(0)
    layout = dict(type='Grid', height=8, width=8, codebook_size=16)
    generator = GENERATORS.build(
        dict(type='LlamaGen', layout=layout, dim=32, depth=1, heads=2, caption_dim=6, caption_tokens=3)
    )
    torch.nn.init.normal_(generator.head.weight)
    tokenizer = Tokenizer.from_pretrained(parts[1])
    ImageGenerator(generator, tokenizer).save_pretrained(tmp_path / 'generator')
    (tmp_path / 'captions').mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        features = rng.standard_normal((1, number + 1, 6), dtype=np.float32)
        np.save(tmp_path / 'captions' / f'{number}.npy', features)
    return [str(tmp_path / 'generator'), '--captions', str(tmp_path / 'captions')]


def test_images_are_drawn_from_captions_in_files(
    from_captions: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    options = ['--npz', '--cfg', '2', '--cfg-schedule', 'linear', '--out', str(out)]
    assert sample.main([*from_captions, '--num', '6', *options]) == 0
    with np.load(out / 'samples.npz') as file:
        images, labels = file['arr_0'], file['arr_1']
    assert images.shape == (6, 64, 64, 3)
    assert labels.tolist() == [0, 1, 2] * 2
    model = ImageGenerator.from_pretrained(from_captions[0])
    captions, mask = torch.zeros(1, 3, 6), torch.tensor([[False, False, True]])
    captions[0, 2] = torch.from_numpy(np.load(tmp_path / 'captions' / '0.npy'))[0, 0]
    plan = json.loads((out / 'shards' / 'samples.json').read_text())
    assert len(plan['settings']['captions']) == 64
    seed = SamplePlan(6, (0, 1, 2), False, 0, {}).image_seed(0)
    alone = model.sample(captions, caption_mask_BT=mask, seeds=[seed], cfg_scale=2.0, cfg_schedule='linear')
    assert np.abs(to_uint8(alone)[0].permute(1, 2, 0).numpy().astype(int) - images[0]).max() <= 1

    capsys.readouterr()
    assert sample.main([from_captions[0], '--out', str(tmp_path / 'none')]) == 2
    assert 'name a folder of their features with --captions' in capsys.readouterr().err
    assert sample.main([*parts, *from_captions[1:], '--out', str(tmp_path / 'none')]) == 2
    assert 'this generator has classes' in capsys.readouterr().err
    np.save(tmp_path / 'captions' / '1.npy', np.zeros((1, 0, 6), np.float32))
    assert sample.main([*from_captions, '--num', '6', *options]) == 2
    assert 'drawn in another way' in capsys.readouterr().err
    assert sample.main([*from_captions, '--num', '6', '--out', str(tmp_path / 'new')]) == 2
    assert '1.npy: caption empty; extract its features again' in capsys.readouterr().err
