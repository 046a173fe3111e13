"""Generators that are nothing like LlamaGen fit the contract: masked, with settings of their own; next-scale, bound."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fvq_core.codes import Codes, Pyramid, Targets, layout_from_dict
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.images import to_uint8
from fvq_core.quantizer import NextScale
from fvq_core.registry import GENERATORS, MODELS
from fvq_core.sampling_settings import SamplingSettings, setting
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.runner import Runner
from fvq_eval.rehearsal.shrink_config import logged, shrink_config
from fvq_eval.rehearsal.smoke import run_smoke
from fvq_generators.binding import bind_checked
from fvq_generators.commands import sample
from fvq_generators.fingerprint import tokenizer_hash
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.image_sets import GivenImages, SamplePlan

from ..generators.tiny import GRID, write_codes
from ..tiny import FVQ, random_images, tiny_tokenizer
from .masked_generator import TinyMasked

MASKED = dict(type='TinyMasked', layout=GRID)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The work dir of a masked generator after a few steps, and a tokenizer of its layout."""
    root = tmp_path_factory.mktemp('masked')
    tokenizer = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold().save_pretrained(root / 'tokenizer')
    changes = {
        'train_dataloader.dataset.root': str(write_codes(root / 'codes')),
        'train_dataloader.dataset.layout': GRID,
        'train_dataloader.batch_size': 6,
        'train_dataloader.num_workers': 0,
        'optim_wrapper.optimizer.lr': 1e-2,
        'train_cfg.max_iters': 40,
        'default_hooks.training_log.interval': 10,
        'default_hooks.report.sampling': dict(steps=3, cfg_scale=1.5),
        'device': 'cpu',
    }
    config = load_config('configs/generation/llamagen_photos.py', changes, work_dir=str(root / 'run'))
    config.model.generator = MASKED
    Runner.from_cfg(config).train()
    return root / 'run', tokenizer


def test_a_masked_generator_trains_and_is_saved_with_its_own_settings(trained: tuple[Path, Path]):
    rows = [row['loss'] for row in logged(trained[0] / 'history.jsonl')]
    assert rows[-1] < 0.8 * rows[0]
    config = json.loads((trained[0] / 'generator/config.json').read_text())
    assert config['generator'] == MASKED
    assert config['sampling'] == dict(steps=3, cfg_scale=1.5)
    assert '"steps": 3' in (trained[0] / 'generator/README.md').read_text()


def test_a_loaded_one_has_the_constants_that_its_file_does_not_hold(trained: tuple[Path, Path]):
    model = ImageGenerator.load(trained[0] / 'generator', trained[1])
    assert isinstance(model.generator, TinyMasked)
    assert model.generator.position_numbers.tolist() == list(range(12))
    assert model.settings(choice_temperature=0.5) == TinyMasked.Sampling(1.5, steps=3, choice_temperature=0.5)
    again = ImageGenerator.load(trained[0] / 'iter_40.pth', trained[1])
    assert torch.equal(model.sample([1, 4], seeds=[1, 2]), again.sample([1, 4], seeds=[1, 2]))


def test_its_settings_are_options_of_the_command(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    call = [str(trained[0] / 'generator'), str(trained[1])]
    with pytest.raises(SystemExit):
        sample.main([*call, '--help'])
    shown = capsys.readouterr().out
    assert 'settings of TinyMasked' in shown
    assert '--choice-temperature X' in shown
    assert '--top-k' not in shown, 'which LlamaGen has'
    assert '--cfg-interval' not in shown, 'it would be ignored'
    with pytest.raises(SystemExit):
        sample.main(['TinyMasked', '--help'])
    assert capsys.readouterr().out == shown
    with pytest.raises(SystemExit):
        sample.main(['--help'])
    assert 'settings of' not in capsys.readouterr().out, 'for that takes torch'
    with pytest.raises(SystemExit):
        sample.main([str(trained[0] / 'iter_40.pth'), '--help'])
    shown = ' '.join(capsys.readouterr().out.split())
    assert re.search(r'settings of (\w+ and )*LlamaGen (and \w+ )*and TinyMasked', shown), 'guidance, which both have'
    assert '--top-k N' in shown

    options = ['--num', '4', '--npz', '--out', str(tmp_path / 'out'), '--steps', '2', '--choice-temperature', '0.5']
    assert sample.main([*call, *options]) == 0
    plan = json.loads((tmp_path / 'out/shards/samples.json').read_text())
    assert {name: plan['settings'][name] for name in ('steps', 'choice_temperature', 'cfg_scale')} == dict(
        steps=2, choice_temperature=0.5, cfg_scale=1.5
    )
    with np.load(tmp_path / 'out/samples.npz') as file:
        images = file['arr_0']
    seeds = [SamplePlan(4, tuple(range(5)), False, 0, {}).image_seed(number) for number in range(4)]
    model = ImageGenerator.load(*call)
    drawn = model.sample([0, 1, 2, 3], seeds=seeds, steps=2, choice_temperature=0.5)
    assert np.abs(to_uint8(drawn).permute(0, 2, 3, 1).numpy().astype(int) - images).max() <= 1
    assert not torch.equal(model.sample([0], seeds=[1], steps=1), model.sample([0], seeds=[1], steps=4))

    capsys.readouterr()
    for wrong, message in (
        (['--steps', '0'], 'steps must be a whole number from 1, got 0'),
        (['--compile'], "has no setting 'compile'"),
    ):
        assert sample.main([*call, '--num', '4', '--out', str(tmp_path / 'new'), *wrong]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sample.main([*call, '--out', str(tmp_path / 'new'), '--top-k', '5'])
    checkpoint = [str(trained[0] / 'iter_40.pth'), call[1], '--out', str(tmp_path / 'new'), '--top-k', '5']
    with pytest.raises(SystemExit):
        sample.main(checkpoint)
    assert 'unrecognized arguments: --top-k' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_it_in_paints_what_is_not_kept(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    model = ImageGenerator.load(trained[0] / 'generator', trained[1])
    tokenizer = Tokenizer.from_pretrained(trained[1])
    given = tokenizer.encode(random_images(2, 6, 8))
    keep_BL = torch.zeros(2, 12, dtype=torch.bool)
    keep_BL[:, :9] = True
    drawn = model.generator.sample(torch.tensor([0, 1]), seeds=[1, 2], given=given, keep_BL=keep_BL)
    assert torch.equal(drawn.indices_BL[:, :9], given.indices_BL[:, :9])
    assert not torch.equal(drawn.indices_BL[:, 9:], given.indices_BL[:, 9:])
    options: dict[str, Any] = dict(seeds=[1, 2], steps=3, cfg_scale=1.5)
    images = model.sample([0, 1], given=given, keep_BL=keep_BL, **options)
    with torch.no_grad():
        codes = model.generator.sample(torch.tensor([0, 1]), given=given, keep_BL=keep_BL, **options)
        torch.testing.assert_close(images, tokenizer.decode(codes).clamp(-1, 1))
    assert torch.equal(
        model.sample([0], given=given[:1], keep_BL=keep_BL[:1] | True, seeds=[7]),
        model.sample([1], given=given[:1], keep_BL=keep_BL[:1] | True, seeds=[8]),
    )
    for wrong, message in (
        (dict(keep_BL=keep_BL), 'TinyMasked: expected Codes, got NoneType'),
        (dict(given=given), r'keep_BL is a bool tensor \(2, 12\), .* got NoneType'),
        (dict(given=given[:1], keep_BL=keep_BL), 'expected given codes of 2 images on'),
    ):
        with pytest.raises(UserError, match=message):
            model.sample([0, 1], **wrong)
    monkeypatch.setattr(TinyMasked, 'inpaints', False)
    with pytest.raises(UserError, match='TinyMasked: draws all codes of an image, and cannot keep given ones'):
        model.sample([0, 1], given=given, keep_BL=keep_BL)


def test_the_command_keeps_a_part_of_pictures(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    model = ImageGenerator.load(trained[0] / 'generator', trained[1])
    assert model.image_size == (6, 8)
    paths = [str(tmp_path / name) for name in ('one.png', 'two.png', 'mask.png')]
    rng = np.random.default_rng(0)
    for path in paths[:2]:
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
    mask = np.zeros((6, 8), dtype=np.uint8)
    mask[:, :4] = 255
    Image.fromarray(mask).save(paths[2])
    given = GivenImages(model, paths[:2], 'left')
    assert given.digest() == GivenImages(model, paths[:2], paths[2]).digest()
    batch = given.batch([1, 2, 3])
    assert torch.equal(batch['given'].indices_BL, given.codes.indices_BL[[1, 0, 1]])
    assert batch['keep_BL'].view(3, 3, 4)[..., :2].all()
    assert not batch['keep_BL'].view(3, 3, 4)[..., 2:].any()

    call = [str(trained[0] / 'generator'), str(trained[1]), '--num', '4', '--npz', '--out', str(tmp_path / 'out')]
    assert sample.main([*call, '--from', *paths[:2], '--keep', 'left']) == 0
    plan = json.loads((tmp_path / 'out/shards/samples.json').read_text())
    assert plan['settings']['given'] == given.digest()
    assert (tmp_path / 'out/given.png').exists()
    seeds = [SamplePlan(4, tuple(range(5)), False, 0, {}).image_seed(number) for number in range(4)]
    drawn = model.sample([0, 1, 2, 3], seeds=seeds, **given.batch(range(4)))
    with np.load(tmp_path / 'out/samples.npz') as file:
        assert np.abs(to_uint8(drawn).permute(0, 2, 3, 1).numpy().astype(int) - file['arr_0']).max() <= 1

    capsys.readouterr()
    black = str(tmp_path / 'black.png')
    Image.new('L', (8, 6)).save(black)
    wide = str(tmp_path / 'wide.png')
    white_left = Image.new('L', (32, 12))
    white_left.paste(255, (0, 0, 16, 12))
    white_left.save(wide)
    assert GivenImages(model, [wide], wide).digest() == GivenImages(model, [wide], 'left').digest(), 'cropped like it'
    for wrong, message in (
        (['--from', paths[0], '--keep', 'right'], 'given is'),
        (['--from', paths[0]], 'give both, or neither'),
        (['--keep', 'left'], 'give both, or neither'),
        (['--from', paths[0], '--keep', black], 'keeps no code, so there is nothing to keep'),
        (['--from', paths[0], '--keep', 'middle'], 'middle cannot be read: No such file'),
        (
            ['--from', paths[0], '--keep', 'tops'],
            '--keep takes top, bottom, left, right, center, border, scales:N, or a',
        ),
        (['--from', paths[0], '--keep', wide], 'has 32 x 12 pixels, expected 8 x 6 or 16 x 12: the size of the drawn'),
        (['--from', paths[0], wide, '--keep', wide], 'has 32 x 12 pixels, expected 8 x 6: the size of the drawn'),
        (['--from', str(tmp_path / 'none.png'), '--keep', 'left'], 'none.png cannot be read: No such file'),
        (
            ['--from', paths[0], '--keep', 'scales:2'],
            'of 32 codes have no scales; name a part of the image',
        ),
        (['--order-file', paths[2]], '--order-file: TinyMasked draws in an order of its own; leave it out'),
    ):
        assert sample.main([*call, *wrong]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr(TinyMasked, 'inpaints', False)
    with pytest.raises(UserError, match='TinyMasked draws all codes of an image, and cannot keep those of a picture'):
        GivenImages(model, paths[:1], 'left')


SCALES = (1, 2, 3)
PYRAMID = dict(
    type='MultiScaleQuantizer', quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=8), scales=SCALES
)


@GENERATORS.register_module()
class TinyNextScale(Generator):
    """Predicts each scale from the sum of those before it, which only the quantizer can tell: a VAR without attention."""

    @dataclass(frozen=True)
    class Sampling(SamplingSettings):
        temperature: float = setting(1.0, 'of the softmax', above=0)

    position_kinds = (Pyramid,)
    binds_to = NextScale

    def __init__(self, layout: dict[str, Any], num_classes: int = 5) -> None:
        super().__init__()
        self.layout, self.num_classes = layout_from_dict(layout), num_classes
        self.classes = nn.Embedding(num_classes, 8)
        self.head = nn.Linear(8, self.layout.vocab_size)

    def check_condition(self, cond: Tensor) -> None: ...

    def logits(self, sums_BLD: Tensor, cond: Tensor) -> Tensor:
        return self.head(sums_BLD + self.classes(cond)[:, None])

    def inputs(self, codes: Codes) -> Tensor:
        """What each code is predicted from, (B, L, D)."""
        sums_BLD = self.quantizer.prefix_inputs(codes)
        return torch.cat([torch.zeros(len(codes), 1, 8), sums_BLD], 1)

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        assert targets.codes is not None
        logits = self.logits(self.inputs(targets.codes), cond)
        return {'cross_entropy': F.cross_entropy(logits.flatten(0, 1), targets.codes.indices_BL.flatten())}

    @torch.no_grad()
    def sample(self, cond: Tensor, *, rng: Any = None, seeds: Any = None, **settings: Any) -> Codes:
        sampling = self.Sampling.of(settings)
        B, (height, width) = len(cond), (SCALES[-1],) * 2
        sum_BDHW, input_BLD, drawn = torch.zeros(B, 8, height, width), torch.zeros(B, 1, 8), []
        for scale, size in enumerate(SCALES):
            logits = self.logits(input_BLD, cond) / sampling.temperature
            drawn.append(logits.argmax(-1))
            codes_BDhw = F.embedding(drawn[-1], self.quantizer.codebook()).transpose(1, 2).unflatten(2, (size, size))
            sum_BDHW, next_BDhw = self.quantizer.advance(sum_BDHW, codes_BDhw, scale)
            input_BLD = next_BDhw.flatten(2).transpose(1, 2)
        return Codes(torch.cat(drawn, 1), self.layout)


def test_a_generator_that_asks_for_running_sums_is_bound_to_the_quantizer_in_training_and_in_sampling(tmp_path: Path):
    tokenizer = tiny_tokenizer(PYRAMID).fold()
    saved = tokenizer.save_pretrained(tmp_path / 'tokenizer')
    with torch.no_grad():
        codes = tokenizer.encode(random_images(4, 6, 6))
    config = dict(type='TinyNextScale', layout=codes.layout.to_dict())
    task = MODELS.build(dict(type='GeneratorTask', generator=config, tokenizer=str(saved)))
    task.place(torch.device('cpu'))
    assert {key.split('.')[0] for key in task.state_dict()} == {'generator'}
    assert not any('quantizer' in key for key in task.state_dict()), 'the tokenizer is not saved with each checkpoint'
    optimizer = torch.optim.Adam(task.generator.parameters(), 0.05)
    data = dict(codes=codes.indices_BL, labels=torch.arange(4))
    losses = []
    for _ in range(60):
        loss = task(task.targets(data), *task.condition(data, torch.device('cpu')))
        optimizer.zero_grad()
        loss['cross_entropy'].backward()
        optimizer.step()
        losses.append(loss['cross_entropy'].item())
    assert losses[-1] < 0.5 * losses[0]

    with pytest.raises(UserError, match='TinyNextScale needs the quantizer of its tokenizer; sample through'):
        GENERATORS.build(config).sample(torch.arange(4))
    folder = ImageGenerator(task.generator, tokenizer).save_pretrained(tmp_path / 'model')
    model = ImageGenerator.from_pretrained(folder)
    drawn = model.generator.sample(torch.arange(4))
    with torch.no_grad():  # teacher forcing of what was drawn predicts it: both read the same running sums
        forced = model.generator.logits(model.generator.inputs(drawn), torch.arange(4)).argmax(-1)
    assert torch.equal(forced, drawn.indices_BL)
    assert model.sample([0, 1]).shape == (2, 3, 6, 6)

    other = GENERATORS.build({**config, 'layout': dict(type='Grid', height=2, width=2, codebook_size=16)})
    with pytest.raises(UserError, match='TinyNextScale needs a quantizer that follows NextScale, got VectorQuantizer'):
        bind_checked(other, tiny_tokenizer({**FVQ, 'codebook_size': 16}).fold())
    with pytest.raises(UserError, match='TinyNextScale draws what this Tokenizer cannot decode'):
        MODELS.build(dict(type='GeneratorTask', generator=other.component_config, tokenizer=str(saved))).check_dataset(
            None
        )  # as a run does before it writes anything


def smoke(generator: dict[str, Any], work_dir: Path, **changes: Any) -> list[str]:
    config = load_config('configs/generation/llamagen_photos.py', work_dir=str(work_dir))
    config.model.generator = generator
    config.model.update(changes)
    config.default_hooks.report.sampling = {}
    lines: list[str] = []
    run_smoke(shrink_config(config), lines.append)
    return lines


def test_a_masked_generator_smokes_on_codes_of_its_own_layout_and_classes(tmp_path: Path):
    assert any(line.startswith('exports:') for line in smoke(MASKED, tmp_path))


def test_a_next_scale_generator_smokes_and_exports_bound_to_its_tokenizer(tmp_path: Path):
    tokenizer = tiny_tokenizer(PYRAMID).fold()
    saved = tokenizer.save_pretrained(tmp_path / 'tokenizer')
    generator = dict(type='TinyNextScale', layout=tokenizer.layout(6, 6).to_dict())
    lines = smoke(generator, tmp_path / 'run', tokenizer=str(saved))
    assert any(line.startswith('exports:') for line in lines)
    model = ImageGenerator.from_pretrained(tmp_path / 'run/generator', tokenizer=saved)
    assert model.sample([0, 4]).shape == (2, 3, 6, 6)
    with pytest.raises(UserError, match='TinyNextScale needs the quantizer of its tokenizer while it trains'):
        smoke(generator, tmp_path / 'without')
    assert not (tmp_path / 'without').exists()


def test_a_next_scale_generator_trains_on_codes_that_are_made_of_images_at_each_step(tmp_path: Path):
    tokenizer = tiny_tokenizer(PYRAMID).fold()
    saved = tokenizer.save_pretrained(tmp_path / 'tokenizer')
    changes = {
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_cfg.max_iters': 3,
        'default_hooks.training_log.interval': 1,
        'device': 'cpu',
    }
    config = load_config('configs/generation/llamagen_photos.py', changes, work_dir=str(tmp_path / 'run'))
    config.model.generator = dict(type='TinyNextScale', layout=tokenizer.layout(6, 6).to_dict(), num_classes=10)
    config.model.tokenizer = str(saved)
    config.default_hooks.report.sampling = {}
    config.train_dataloader.dataset = dict(type='BundledPhotos', split='train', crop_size=6, crops=40)
    Runner.from_cfg(config).train()
    assert 0 < logged(tmp_path / 'run/history.jsonl')[-1]['usage_window'] <= 100
    described = json.loads((tmp_path / 'run/generator/config.json').read_text())
    assert described['tokenizer_hash'] == tokenizer_hash(tokenizer)
    assert ImageGenerator.load(tmp_path / 'run/iter_3.pth', saved).sample([3]).shape == (1, 3, 6, 6)
