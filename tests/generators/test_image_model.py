"""Generator and tokenizer as one: images of classes, saved and loaded, and no other tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.identity import tokenizer_hash
from fvq_core.registry import MODELS, describe
from fvq_core.tokenizer import Tokenizer
from fvq_generators import hub
from fvq_generators.image_model import AutoregressiveImageModel
from fvq_generators.interop.convert import build_from_peer
from fvq_generators.pretrained import load_generator, save_generator

from ..tiny import tiny_tokenizer
from .tiny import tiny_generator

GRID = dict(type='Grid', height=3, width=4, codebook_size=16)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@pytest.fixture
def model(tokenizer: Tokenizer) -> AutoregressiveImageModel:
    return AutoregressiveImageModel(
        tiny_generator(layout=GRID), tokenizer, sampling=dict(cfg_scale=1.65, top_k=8)
    ).eval()


def test_images_are_the_decoded_codes_of_their_classes_and_seeds(model: AutoregressiveImageModel, tokenizer: Tokenizer):
    images = model.sample([2, 4], seeds=[5, 6])
    codes = model.generator.sample(torch.tensor([2, 4]), seeds=[5, 6], cfg_scale=1.65, top_k=8)  # the saved settings
    with torch.no_grad():
        torch.testing.assert_close(images, tokenizer.decode(codes).clamp(-1, 1))
    assert images.shape == (2, 3, 6, 8)
    assert not torch.equal(model.sample([2, 4], seeds=[5, 6], cfg_scale=1.0), images)
    torch.testing.assert_close(model.sample(torch.tensor([4]), seeds=[6]), images[1:])


def test_a_loaded_model_gives_the_same_images(model: AutoregressiveImageModel, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model', {'weights': 'iter_7.pth', 'seed': 3})
    loaded = AutoregressiveImageModel.from_pretrained(folder)
    assert torch.equal(loaded.sample([1, 3], seeds=[1, 2]), model.sample([1, 3], seeds=[1, 2]))
    assert not loaded.training
    again = loaded.save_pretrained(tmp_path / 'again')
    names = ('model.safetensors', 'config.json', 'tokenizer/model.safetensors')
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)
    with torch.no_grad():
        loaded.generator.head.weight.add_(1.0)
    changed = json.loads((loaded.save_pretrained(tmp_path / 'changed') / 'config.json').read_text())
    assert 'weights' not in changed  # what was known of other weights


def test_the_card_loads_what_it_says(model: AutoregressiveImageModel, tmp_path: Path):
    folder = model.save_pretrained(tmp_path / 'model', {'weights': 'iter_7.pth'})
    card = (folder / 'README.md').read_text()
    assert model.tokenizer_hash in card
    assert 'iter_7.pth' in card
    code = card.split('```python\n')[1].split('```')[0]
    done = subprocess.run([sys.executable, '-c', f'{code}\nassert images.shape == (2, 3, 6, 8)'], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_another_tokenizer_is_refused(model: AutoregressiveImageModel, tmp_path: Path):
    torch.manual_seed(9)
    other = tiny_tokenizer()
    with pytest.raises(UserError, match=r'has learned codes of tokenizer .* mean other pixels'):
        model.attach(other)
    with pytest.raises(UserError, match='mean other pixels'):
        AutoregressiveImageModel(model.generator, other, model.tokenizer_hash)
    folder = model.save_pretrained(tmp_path / 'model')
    with pytest.raises(UserError, match='mean other pixels'):
        AutoregressiveImageModel.from_pretrained(folder, tokenizer=other)
    wide = AutoregressiveImageModel(tiny_generator(layout={**GRID, 'codebook_size': 32}))
    with pytest.raises(UserError, match='draws codes on Grid'):
        wide.attach(other)


def test_a_folded_tokenizer_is_the_same_one(model: AutoregressiveImageModel, tokenizer: Tokenizer):
    model.attach(tokenizer.fold())
    assert model.tokenizer_hash == tokenizer_hash(tokenizer)


def test_a_generator_saved_alone_asks_for_its_tokenizer(tokenizer: Tokenizer, tmp_path: Path):
    generator, identity = tiny_generator(layout=GRID), tokenizer_hash(tokenizer)
    folder = save_generator(describe(generator), generator.state_dict(), tmp_path / 'g', tokenizer_hash=identity)
    alone = AutoregressiveImageModel.from_pretrained(folder)
    with pytest.raises(UserError, match='saved without its tokenizer'):
        alone.sample([0])
    saved = tokenizer.save_pretrained(tmp_path / 't')
    whole = AutoregressiveImageModel.from_pretrained(folder, tokenizer=saved)
    codes = Codes(generator.sample(torch.tensor([0]), seeds=[1]).indices_BL, generator.layout)
    with torch.no_grad():
        torch.testing.assert_close(whole.sample([0], seeds=[1]), tokenizer.decode(codes).clamp(-1, 1))


def test_nothing_foreign_is_replaced_or_loaded(model: AutoregressiveImageModel, tmp_path: Path):
    folder = tmp_path / 'mine'
    folder.mkdir()
    (folder / 'notes.txt').write_text('keep')
    with pytest.raises(UserError, match='is not a saved generator; choose another'):
        model.save_pretrained(folder)
    model.tokenizer.save_pretrained(tmp_path / 'tokenizer')
    with pytest.raises(UserError, match='describes no generator'):
        model.save_pretrained(tmp_path / 'tokenizer')
    with pytest.raises(UserError, match='describes no generator; a tokenizer is loaded with'):
        AutoregressiveImageModel.from_pretrained(tmp_path / 'tokenizer')
    saved = model.save_pretrained(tmp_path / 'model')
    config = json.loads((saved / 'config.json').read_text())
    config['generator']['type'] = 'os.system'
    (saved / 'config.json').write_text(json.dumps(config))
    with pytest.raises(UserError, match='could run any code'):
        load_generator(saved)
    with pytest.raises(UserError, match=r"'generator' is a key of config\.json itself"):
        model.save_pretrained(tmp_path / 'new', {'generator': 1})


def test_a_push_sends_generator_and_tokenizer_in_one_commit(
    model: AutoregressiveImageModel, monkeypatch: pytest.MonkeyPatch
):
    sent: dict[str, Any] = {}

    def push(self: Any, repo_id: str, **options: Any) -> str:
        files = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob('*') if path.is_file()}
        sent.update(repo_id=repo_id, files=files, card=(self.folder / 'README.md').read_text(), **options)
        return 'https://hub/ada/tiny'

    monkeypatch.setattr(hub.SavedTokenizer, 'push_to_hub', push)
    assert model.push_to_hub('ada/tiny', private=True) == 'https://hub/ada/tiny'
    tokenizer = {f'tokenizer/{name}' for name in ('README.md', 'config.json', 'model.safetensors')}
    assert sent['files'] == {'README.md', 'config.json', 'model.safetensors', *tokenizer}
    assert sent['private'] is True
    assert "from_pretrained('ada/tiny')" in sent['card']
    with pytest.raises(UserError, match='is not a repository id'):
        model.push_to_hub('tiny')


def test_a_repository_in_the_cache_is_loaded_and_a_missing_one_explained(
    model: AutoregressiveImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    loaded = AutoregressiveImageModel.from_pretrained('ada/tiny', **options)
    assert torch.equal(loaded.sample([1], seeds=[1]), model.sample([1], seeds=[1]))
    with pytest.raises(UserError, match="no generator 'ada/none': there is no such folder"):
        AutoregressiveImageModel.from_pretrained('ada/none', **options)


def test_a_peers_generator_takes_any_tokenizer_of_its_layout(tokenizer: Tokenizer):
    from .test_interop import peer_state

    generator = build_from_peer('llamagen', peer_state(tiny_generator(layout=GRID)), heads=4, grid=(3, 4))
    model = AutoregressiveImageModel(generator, tokenizer)
    assert model.tokenizer_hash == tokenizer_hash(tokenizer)
    assert model.sample([0], seeds=[1]).shape == (1, 3, 6, 8)


def test_the_commands_find_it_by_name_and_load_it_from_its_parts(
    model: AutoregressiveImageModel, tokenizer: Tokenizer, tmp_path: Path
):
    assert MODELS.resolve('AutoregressiveImageModel') is AutoregressiveImageModel
    generator, saved = tmp_path / 'g', tokenizer.save_pretrained(tmp_path / 't')
    save_generator(describe(model.generator), model.generator.state_dict(), generator, sampling=dict(top_k=8))
    loaded = AutoregressiveImageModel.load(generator, saved)
    assert loaded.num_classes == 5
    assert loaded.settings(top_p=0.9) == dict(cfg_scale=1.0, temperature=1.0, top_k=8, top_p=0.9, cfg_interval=-1)
    assert loaded.identity() == model.identity()
    half = AutoregressiveImageModel.load(generator, saved, precision='bfloat16')
    assert half.generator.head.weight.dtype == torch.bfloat16
    assert half.identity() == model.identity()
    assert half.sample([1, 2], seeds=[1, 2]).dtype == torch.float32
    with pytest.raises(UserError, match='has one kind of weights'):
        AutoregressiveImageModel.load(generator, saved, weights='raw')
    with pytest.raises(UserError, match='its conditions are captions'):
        _ = AutoregressiveImageModel(tiny_generator(caption_dim=6)).num_classes
