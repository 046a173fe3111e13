"""Generator and tokenizer as one: images of classes, saved and loaded, and no other tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fvq.commands import push
from fvq_core.codes import CodeLayout, Codes, Grid, layout_from_dict
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.generator import Generator
from fvq_core.registry import MODELS
from fvq_core.saving import hub
from fvq_core.tokenizer import Tokenizer
from fvq_generators import LlamaGen
from fvq_generators.fingerprint import tokenizer_hash
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.pretrained import load_generator, save_generator
from fvq_generators.sampling import Guidance
from tests.tiny import build_from_peer

from ..tiny import tiny_tokenizer
from .tiny import tiny_generator

GRID = dict(type='Grid', height=3, width=4, codebook_size=16)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.fixture
def model(tokenizer: Tokenizer) -> ImageGenerator:
    return ImageGenerator(tiny_generator(layout=GRID), tokenizer, sampling=dict(cfg_scale=1.65, top_k=8)).eval()


def test_images_are_the_decoded_codes_of_their_classes_and_seeds(model: ImageGenerator, tokenizer: Tokenizer):
    images = model.sample([2, 4], seeds=[5, 6])
    codes = model.generator.sample(torch.tensor([2, 4]), seeds=[5, 6], cfg_scale=1.65, top_k=8)  # the saved settings
    with torch.no_grad():
        torch.testing.assert_close(images, tokenizer.decode(codes).clamp(-1, 1))
    assert images.shape == (2, 3, 6, 8)
    assert not torch.equal(model.sample([2, 4], seeds=[5, 6], cfg_scale=1.0), images)
    torch.testing.assert_close(model.sample(torch.tensor([4]), seeds=[6]), images[1:])


def test_a_loaded_model_gives_the_same_images(model: ImageGenerator, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model', {'weights': 'iter_7.pth', 'seed': 3})
    loaded = ImageGenerator.from_pretrained(folder)
    assert torch.equal(loaded.sample([1, 3], seeds=[1, 2]), model.sample([1, 3], seeds=[1, 2]))
    assert not loaded.training
    again = loaded.save_pretrained(tmp_path / 'again')
    names = ('model.safetensors', 'config.json', 'tokenizer/model.safetensors')
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)
    with torch.no_grad():
        loaded.generator.head.weight.add_(1.0)
    changed = json.loads((loaded.save_pretrained(tmp_path / 'changed') / 'config.json').read_text())
    assert 'weights' not in changed  # what was known of other weights


def test_a_decoder_that_needs_too_much_memory_names_the_batch_that_fits(
    model: ImageGenerator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(model.tokenizer, 'decode', lambda codes: torch.empty(2**60))
    with pytest.raises(UserError, match=r'decoding 6 images at once needs more memory .*; about 3 should fit\.'):
        model.sample([2] * 6)


@pytest.mark.processes
def test_the_card_loads_what_it_says(model: ImageGenerator, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model', {'weights': 'iter_7.pth'})
    card = (folder / 'README.md').read_text()
    assert model.tokenizer_hash in card
    assert 'iter_7.pth' in card
    code = card.split('```python\n')[1].split('```')[0]
    done = subprocess.run([sys.executable, '-c', f'{code}\nassert images.shape == (2, 3, 6, 8)'], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_card_of_a_generator_of_captions_names_the_features(tokenizer: Tokenizer, tmp_path: Path):
    generator = tiny_generator(layout=GRID, caption_dim=6, caption_tokens=4)
    folder = ImageGenerator(generator, tokenizer).save_pretrained(tmp_path / 'model')
    code = (folder / 'README.md').read_text().split('```python\n')[1].split('```')[0]
    assert 'float (B, 4, 6)' in code
    given = 'import torch\nfeatures_BTC, mask_BT = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)\n'
    names: dict[str, Any] = {}
    exec(given + code, names)
    assert names['images'].shape == (2, 3, 6, 8)


def test_another_tokenizer_is_refused(model: ImageGenerator, tmp_path: Path):
    torch.manual_seed(9)
    other = tiny_tokenizer()
    with pytest.raises(UserError, match=r'has learned codes of tokenizer .* mean other pixels'):
        model.attach(other)
    with pytest.raises(UserError, match='mean other pixels'):
        ImageGenerator(model.generator, other, model.tokenizer_hash)
    folder = model.save_pretrained(tmp_path / 'model')
    with pytest.raises(UserError, match='mean other pixels'):
        ImageGenerator.from_pretrained(folder, tokenizer=other)
    sequence = dict(type='Sequence', length=7, codebook_size=32)
    for layout in ({**GRID, 'codebook_size': 32}, sequence, {**sequence, 'codebook_size': 16}):
        with pytest.raises(UserError, match=rf'draws what this Tokenizer cannot decode .*not (of )?{layout["type"]}\('):
            ImageGenerator(tiny_generator(layout=layout)).attach(other)


def test_a_folded_tokenizer_is_the_same_one(model: ImageGenerator, tokenizer: Tokenizer):
    model.attach(tokenizer.fold())
    assert model.tokenizer_hash == tokenizer_hash(tokenizer)


def test_a_generator_saved_without_its_tokenizer_asks_for_it(tokenizer: Tokenizer, tmp_path: Path):
    generator, identity = tiny_generator(layout=GRID), tokenizer_hash(tokenizer)
    folder = save_generator(generator, generator.state_dict(), tmp_path / 'g', tokenizer_hash=identity)
    alone = ImageGenerator.from_pretrained(folder)
    with pytest.raises(UserError, match='saved without its tokenizer'):
        alone.sample([0])
    saved = tokenizer.save_pretrained(tmp_path / 't')
    whole = ImageGenerator.from_pretrained(folder, tokenizer=saved)
    codes = Codes(generator.sample(torch.tensor([0]), seeds=[1]).indices_BL, generator.layout)
    with torch.no_grad():
        torch.testing.assert_close(whole.sample([0], seeds=[1]), tokenizer.decode(codes).clamp(-1, 1))


def test_nothing_foreign_is_replaced_or_loaded(model: ImageGenerator, tmp_path: Path):
    folder = tmp_path / 'mine'
    folder.mkdir()
    (folder / 'notes.txt').write_text('keep')
    with pytest.raises(UserError, match='is not a saved generator; choose another'):
        model.save_pretrained(folder)
    model.tokenizer.save_pretrained(tmp_path / 'tokenizer')
    with pytest.raises(UserError, match='describes no generator'):
        model.save_pretrained(tmp_path / 'tokenizer')
    with pytest.raises(UserError, match='describes no generator; its keys are format_version, fvq_version, tokenizer'):
        ImageGenerator.from_pretrained(tmp_path / 'tokenizer')
    saved = model.save_pretrained(tmp_path / 'model')
    config = json.loads((saved / 'config.json').read_text())
    config['generator']['type'] = 'os.system'
    (saved / 'config.json').write_text(json.dumps(config))
    with pytest.raises(UserError, match='could run any code'):
        load_generator(saved)
    with pytest.raises(UserError, match=r"'generator' is a key of config\.json itself"):
        model.save_pretrained(tmp_path / 'new', {'generator': 1})


def test_a_push_sends_generator_and_tokenizer_in_one_commit(model: ImageGenerator, monkeypatch: pytest.MonkeyPatch):
    sent: dict[str, Any] = {}

    def create_repo(repo_id: str, **options: Any) -> SimpleNamespace:
        sent.update(options)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(folder_path: Path, **options: Any) -> str:
        files = {path.relative_to(folder_path).as_posix() for path in folder_path.rglob('*') if path.is_file()}
        sent.update(files=files, card=(folder_path / 'README.md').read_text())
        return 'https://hub/ada/tiny'

    fake_api = SimpleNamespace(create_repo=create_repo, upload_folder=upload_folder)
    monkeypatch.setattr(hub, 'HfApi', lambda token: fake_api)
    assert model.push_to_hub('ada/tiny', private=True) == 'https://hub/ada/tiny'
    tokenizer = {f'tokenizer/{name}' for name in ('README.md', 'config.json', 'model.safetensors')}
    assert sent['files'] == {'README.md', 'config.json', 'model.safetensors', *tokenizer}
    assert sent['private'] is True
    assert "from_pretrained('ada/tiny')" in sent['card']
    with pytest.raises(UserError, match='is not a repository id'):
        model.push_to_hub('tiny')


def test_the_command_pushes_a_generator_with_its_tokenizer(model: ImageGenerator, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model', {'weights': 'iter_7.pth'})
    assert push.main([str(folder), 'ada/tiny', '--license', 'mit', '--dry-run', str(tmp_path / 'dry')]) == 0
    names = ('config.json', 'model.safetensors', 'tokenizer/config.json', 'tokenizer/model.safetensors')
    assert all((tmp_path / 'dry' / name).read_bytes() == (folder / name).read_bytes() for name in names)
    card = (tmp_path / 'dry/README.md').read_text()
    assert 'license: mit' in card
    assert "ImageGenerator.from_pretrained('ada/tiny')" in card


def test_a_folder_inside_that_holds_other_files_is_not_replaced(model: ImageGenerator, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model')
    (folder / 'tokenizer/notes.txt').write_text('keep')
    with pytest.raises(UserError, match=r'model/tokenizer exists and is not a saved tokenizer'):
        model.save_pretrained(folder)
    assert (folder / 'tokenizer/notes.txt').read_text() == 'keep'


def test_a_repository_in_the_cache_is_loaded_and_a_missing_one_explained(
    model: ImageGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = model.save_pretrained(tmp_path / 'model')
    commit = 'a' * 40
    snapshot = tmp_path / 'cache' / 'models--ada--tiny' / 'snapshots' / commit
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    refs = snapshot.parents[1] / 'refs'
    refs.mkdir()
    (refs / 'main').write_text(commit)
    options: dict[str, Any] = dict(cache_dir=tmp_path / 'cache', local_files_only=True)
    loaded = ImageGenerator.from_pretrained('ada/tiny', **options)
    assert torch.equal(loaded.sample([1], seeds=[1]), model.sample([1], seeds=[1]))
    with pytest.raises(UserError, match="no generator 'ada/none': there is no such folder"):
        ImageGenerator.from_pretrained('ada/none', **options)


def test_a_peers_generator_takes_any_tokenizer_of_its_layout(tokenizer: Tokenizer):
    from .test_interop import peer_state

    generator = build_from_peer('llamagen-gpt', peer_state(tiny_generator(layout=GRID)), heads=4, grid=(3, 4))
    model = ImageGenerator(generator, tokenizer)
    assert model.tokenizer_hash == tokenizer_hash(tokenizer)
    assert model.sample([0], seeds=[1]).shape == (1, 3, 6, 8)


def test_the_commands_find_it_by_name_and_load_it_from_its_parts(
    model: ImageGenerator, tokenizer: Tokenizer, tmp_path: Path
):
    assert MODELS.resolve('ImageGenerator') is ImageGenerator
    generator, saved = tmp_path / 'g', tokenizer.save_pretrained(tmp_path / 't')
    save_generator(model.generator, model.generator.state_dict(), generator, sampling=dict(top_k=8))
    loaded = ImageGenerator.load(generator, saved)
    assert loaded.num_classes == 5
    assert loaded.settings(top_p=0.9) == LlamaGen.Sampling(top_k=8, top_p=0.9)
    assert loaded.identity() == model.identity()
    half = ImageGenerator.load(generator, saved, precision='bfloat16')
    assert half.generator.head.weight.dtype == torch.bfloat16
    assert half.identity() == model.identity()
    assert half.sample([1, 2], seeds=[1, 2]).dtype == torch.float32
    with pytest.raises(UserError, match='has one kind of weights'):
        ImageGenerator.load(generator, saved, weights='raw')
    with pytest.raises(UserError, match='its conditions are captions'):
        _ = ImageGenerator(tiny_generator(caption_dim=6)).num_classes


def test_no_classes_give_no_images(model: ImageGenerator):
    for none in ([], (), torch.empty(0, dtype=torch.int64), np.empty(0, dtype=np.int64)):
        images = model.sample(none)
        assert (images.shape, images.dtype) == ((0, 3, 6, 8), torch.float32)


@pytest.mark.parametrize(
    'classes', [(2, 4), range(2, 5, 2), np.array([2, 4], np.uint8), [torch.tensor(2), np.int16(4)]]
)
def test_whole_numbers_of_any_kind_are_classes(model: ImageGenerator, classes: Any):
    assert torch.equal(model.sample(classes, seeds=[5, 6]), model.sample([2, 4], seeds=[5, 6]))


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ([1.7], r'whole numbers, got 1\.7'),
        ([1, 2.0], r'whole numbers, got 2\.0'),
        (['1'], "whole numbers, got '1'"),
        ([True], 'whole numbers, got True'),
        ([2**70], 'whole numbers, got 1180591620717411303424'),
        ('12', "a list of whole numbers, got '12'"),
        (3, r'got 3; write classes=\[207\]'),
        (torch.tensor([1.7]), r'whole numbers \(B,\), got torch.float32'),
        (np.array([1.7]), r'whole numbers \(B,\), got torch.float'),
        (torch.tensor([True]), 'whole numbers, got bool'),
        ([5], 'class 5 is out of range'),
    ],
)
def test_what_is_not_a_class_is_refused_and_not_rounded(model: ImageGenerator, classes: Any, message: str):
    with pytest.raises(UserError, match=message):
        model.sample(classes)


def test_images_are_drawn_from_captions_and_their_mask(tokenizer: Tokenizer):
    model = ImageGenerator(tiny_generator(layout=GRID, caption_dim=6, caption_tokens=4), tokenizer)
    captions, mask = torch.randn(2, 4, 6), torch.tensor([[False, False, True, True], [True] * 4])
    options: dict[str, Any] = dict(seeds=[5, 6], cfg_scale=1.5)
    images = model.sample(captions, caption_mask_BT=mask, **options)
    codes = model.generator.sample(captions, caption_mask_BT=mask, **options)
    with torch.no_grad():
        torch.testing.assert_close(images, tokenizer.decode(codes).clamp(-1, 1))
    padded = captions.clone()
    padded[0, :2] = 9.0
    assert torch.equal(model.sample(padded, caption_mask_BT=mask, **options), images), 'padding is not seen'
    assert not torch.equal(model.sample(padded, **options), images)
    assert torch.equal(model.sample(captions.double().numpy(), caption_mask_BT=mask.numpy(), **options), images)
    assert model.sample(captions[:0], caption_mask_BT=mask[:0]).shape == (0, 3, 6, 8)
    model.generator.to(torch.bfloat16)
    assert model.sample(captions, caption_mask_BT=mask, **options).dtype == torch.float32
    with pytest.raises(UserError, match=r'captions are float features \(B, 4, 6\)'):
        model.sample([1, 2])
    with pytest.raises(UserError, match='caption mask'):
        model.sample(captions, caption_mask_BT=mask[:1])


def test_a_mask_goes_only_with_captions(model: ImageGenerator):
    with pytest.raises(UserError, match='caption mask'):
        model.sample([1], caption_mask_BT=torch.ones(1, 4, dtype=torch.bool))


def test_the_schedule_of_guidance_is_a_setting(model: ImageGenerator, tmp_path: Path):
    model.sampling['cfg_schedule'] = 'linear'
    loaded = ImageGenerator.from_pretrained(model.save_pretrained(tmp_path / 'model'))
    codes = model.generator.sample(torch.tensor([2]), seeds=[5], cfg_scale=9.0, top_k=8, cfg_schedule='linear')
    with torch.no_grad():
        expected = model.tokenizer.decode(codes).clamp(-1, 1)
    torch.testing.assert_close(loaded.sample([2], seeds=[5], cfg_scale=9.0), expected)
    assert not torch.equal(loaded.sample([2], seeds=[5], cfg_scale=9.0, cfg_schedule='constant'), expected)


def test_the_identity_is_that_of_the_weights_that_are_there(model: ImageGenerator, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model')
    before = ImageGenerator.from_pretrained(folder).identity()
    assert before == model.identity()
    weights = load_file(folder / 'model.safetensors')
    weights['head.weight'][0, 0] += 1
    save_file(weights, folder / 'model.safetensors')  # config.json still has the digest of the old ones
    replaced = ImageGenerator.from_pretrained(folder)
    assert replaced.identity()['generator'] != before['generator']
    assert replaced.identity()['tokenizer'] == before['tokenizer']
    for precision in ('float32', 'bfloat16'):
        loaded = ImageGenerator.load(folder, precision=precision)
        assert loaded.identity() == replaced.identity()
        with torch.no_grad():
            loaded.generator.head.weight.add_(1.0)
        assert loaded.identity()['generator'] not in (replaced.identity()['generator'], before['generator'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(sampling={'cfg_scal': 2}), "'sampling' has an unknown setting 'cfg_scal'; did you mean 'cfg_scale'"),
        (dict(sampling=[1]), r"'sampling' is \[1\], expected an object"),
        (dict(sampling=None), "'sampling' is null, expected an object"),
        (dict(sampling={'cfg_scale': '2'}), r"""'sampling\.cfg_scale' is "2", expected a finite number"""),
        (dict(sampling={'cfg_scale': float('nan')}), r"'sampling\.cfg_scale' is NaN, expected a finite number"),
        (dict(sampling={'cfg_scale': 10**400}), r"'sampling\.cfg_scale' is 10{59}\.\.\., expected a finite number"),
        (dict(sampling={'top_k': 2.5}), r"'sampling\.top_k' is 2\.5, expected a whole number"),
        (dict(sampling={'top_k': True}), r"'sampling\.top_k' is true, expected a whole number"),
        (
            dict(sampling={'cfg_schedule': 1}),
            r"'sampling\.cfg_schedule' is 1, expected one of constant, linear, cosine",
        ),
        (dict(generator=[]), r"'generator' is \[\], expected an object"),
        (dict(generator='x' * 99), r"'generator' is \"x{59}\.\.\., expected an object"),
        (dict(generator=None), "'generator' is null, expected an object"),
        (dict(tokenizer_hash=5), "'tokenizer_hash' is 5, expected text; save the generator again"),
        (dict(weights_digest={}), r"'weights_digest' is \{\}, expected text"),
        (dict(metrics=[1]), r"'metrics' is \[1\], expected an object"),
    ],
)
def test_a_key_of_the_config_that_holds_what_it_cannot_is_named(
    model: ImageGenerator, tmp_path: Path, changes: dict[str, Any], message: str
):
    path = model.save_pretrained(tmp_path / 'model') / 'config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=message) as told:
        ImageGenerator.from_pretrained(tmp_path / 'model')
    assert str(told.value).startswith(str(path))
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(
    'changes', [dict(dim='32'), dict(depth=None), dict(heads=[4]), dict(layout=3), dict(dim=1e400), dict(dims=3)]
)
def test_an_argument_of_the_generator_of_another_type_names_the_file(
    model: ImageGenerator, tmp_path: Path, changes: dict[str, Any]
):
    path = model.save_pretrained(tmp_path / 'model') / 'config.json'
    config = json.loads(path.read_text())
    config['generator'].update(changes)
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r'config\.json: LlamaGen[.:]') as told:
        ImageGenerator.from_pretrained(tmp_path / 'model')
    assert '\n' not in str(told.value)


@pytest.mark.parametrize(
    ('sampling', 'message'),
    [
        (dict(cfg_scal=2.0), "has no setting 'cfg_scal'; did you mean 'cfg_scale'"),
        (dict(cfg_scale=np.float32(2)), 'cfg_scale must be a finite number from 1, got'),
    ],
)
def test_settings_that_could_not_be_loaded_again_are_refused_at_once(sampling: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        ImageGenerator(tiny_generator(), sampling=sampling)


def test_a_generator_built_with_a_layout_object_is_saved(tmp_path: Path):
    generator = tiny_generator(layout=layout_from_dict(GRID))
    saved = ImageGenerator(generator).save_pretrained(tmp_path / 'saved')
    assert ImageGenerator.from_pretrained(saved).generator.layout == generator.layout
    assert json.loads((saved / 'config.json').read_text())['generator']['layout'] == GRID


def test_a_generator_with_only_the_contract_is_told_what_is_in_it(tokenizer: Tokenizer):
    class Plain(Generator):
        Sampling = Guidance
        position_kinds, layout, num_classes = (Grid,), CodeLayout(Grid(3, 4), 16), 5

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def sample(self, cond: Any, *, rng=None, seeds=None, cfg_scale: float) -> Codes:
            return Codes(cond[:, None].expand(-1, 12), self.layout)

    model = ImageGenerator(Plain(), tokenizer)
    assert model.sample([1, 2]).shape == (2, 3, 6, 8)
    assert model.num_classes == 5


def test_weights_that_are_not_finite_are_refused_when_a_generator_is_loaded(model: ImageGenerator, tmp_path: Path):
    with torch.no_grad():
        model.generator.norm.weight[3] = float('nan')
    with pytest.warns(UserWarning, match="'norm.weight' is not finite: 1 of its 32 .* refused when it is loaded"):
        folder = model.save_pretrained(tmp_path / 'model')
    with pytest.raises(NonFiniteError, match=r"model.safetensors: 'norm.weight' is not finite"):
        ImageGenerator.from_pretrained(folder)


def test_pixels_that_are_not_finite_are_no_images(model: ImageGenerator):
    assert model.tokenizer is not None
    with torch.no_grad():
        model.tokenizer.decoder.conv_out.bias.fill_(float('inf'))
    with pytest.raises(NonFiniteError, match='the pixels of image 0 are not finite'):
        model.sample([0, 1])


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (np.array(['1']), 'whole numbers, got a NumPy array of <U1'),
        (np.array([None]), 'NumPy array of object'),
        (torch.tensor([1.0]), 'whole numbers'),
        (np.array([0.5]), 'whole numbers'),
        (torch.tensor([1 + 0j]), 'whole numbers'),
        (torch.tensor([[1]]), 'whole numbers'),
        (torch.tensor([200], dtype=torch.uint8), 'class 200 is out of range; this model has classes 0 to 4'),
        (5, 'a list of whole numbers'),
    ],
)
def test_other_things_than_classes_are_refused(model: ImageGenerator, classes: Any, message: str):
    with pytest.raises(UserError, match=message):
        model.sample(classes)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32])
def test_classes_of_every_integer_type_are_the_same(model: ImageGenerator, dtype: torch.dtype):
    expected = model.sample([3, 1], seeds=[1, 2], cfg_scale=2.0)
    assert torch.equal(model.sample(torch.tensor([3, 1]).to(dtype), seeds=[1, 2], cfg_scale=2.0), expected)
    cond = torch.tensor([3, 1]).to(dtype)
    codes = model.generator.sample(cond, seeds=np.array([1, 2]), cfg_scale=2.0)
    assert torch.equal(codes.indices_BL, model.generator.sample(cond.long(), seeds=[1, 2], cfg_scale=2.0).indices_BL)
