"""Saved tokenizers: the same pixels again, no training baggage, and nothing foreign replaced or loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fvq.saved_class import find_saved_class
from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import check_finite_weights
from fvq_core.registry import TOKENIZERS
from fvq_core.saving import write_folder
from fvq_core.tokenizer import Tokenizer
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.normalizations import L2Normalize

from ..tiny import FVQ, random_images, tiny_tokenizer
from .hub_cache import put_in_cache

FRESH = """
import sys, torch
from fvq_core.tokenizer import Tokenizer
tokenizer = Tokenizer.from_pretrained(sys.argv[1])
codes = tokenizer.encode(torch.zeros(1, 3, 8, 8))
assert codes.indices_BL.shape == (1, 16), codes
assert 'fvq_core.saving.hub' not in sys.modules  # a folder needs no hub
shared = Tokenizer.from_pretrained('ada/tiny', cache_dir=sys.argv[2], local_files_only=True)
assert torch.equal(shared.encode(torch.zeros(1, 3, 8, 8)).indices_BL, codes.indices_BL)
print(','.join(sorted(sys.modules)))
"""


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Tokenizer, Path]:
    tokenizer = tiny_tokenizer()
    return tokenizer, tokenizer.fold().save_pretrained(tmp_path / 'tokenizer', {'weights': 'iter_7.pth'})


@torch.no_grad()
def test_loaded_tokenizer_gives_the_same_codes_and_pixels(saved: tuple[Tokenizer, Path]):
    tokenizer, folder = saved
    loaded, images = Tokenizer.from_pretrained(folder), random_images()
    one, other = tokenizer(images), loaded(images)
    assert len(one.codes.indices_BL.unique()) > 2
    assert torch.equal(one.codes.indices_BL, other.codes.indices_BL)
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert torch.equal(loaded.decode(loaded.encode(images)), one.reconstruction)
    assert not loaded.training


def test_the_saved_class_of_an_unknown_type_is_the_base_and_not_the_last_registered(
    saved: tuple[Tokenizer, Path], monkeypatch: pytest.MonkeyPatch
):
    class Latest(Autoencoder):
        pass

    known = TOKENIZERS.known()
    monkeypatch.setattr(TOKENIZERS, 'known', lambda: {**known, 'Latest': Latest})
    _, folder = saved
    assert find_saved_class(folder) is Tokenizer
    config = json.loads((folder / 'config.json').read_text())
    config['tokenizer']['type'] = 'Unregistered'
    (folder / 'config.json').write_text(json.dumps(config))
    assert find_saved_class(folder) is Autoencoder


@torch.no_grad()
def test_unfolded_tokenizer_keeps_its_projector(tmp_path: Path):
    tokenizer, images = tiny_tokenizer(), random_images()
    loaded = Tokenizer.from_pretrained(tokenizer.save_pretrained(tmp_path / 't'))
    assert type(loaded.quantizer.projector).__name__ == 'VQBridge'
    assert loaded.state_dict().keys() == tokenizer.state_dict().keys()
    assert torch.equal(loaded(images).reconstruction, tokenizer(images).reconstruction)


@pytest.mark.processes
def test_loading_and_encoding_import_no_training_code(saved: tuple[Tokenizer, Path], tmp_path: Path):
    put_in_cache(tmp_path / 'cache', 'ada/tiny', saved[1])
    command = [sys.executable, '-c', FRESH, str(saved[1]), str(tmp_path / 'cache')]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.strip().split(','))
    assert 'fvq_quantizers.vector_quantizer' in modules
    assert not modules & {'mmengine.runner', 'cv2', 'lpips'}


def test_folded_config_describes_an_identity_projector_and_holds_only_its_weights(saved: tuple[Tokenizer, Path]):
    tokenizer, folder = saved
    config = json.loads((folder / 'config.json').read_text())
    quantizer = config['tokenizer']['quantizer']
    assert quantizer == {
        'type': 'VectorQuantizer', 'codebook_size': 16, 'code_dim': 8, 'projector': {'type': 'IdentityProjector'}
    }  # fmt: skip
    assert config['weights'] == 'iter_7.pth'
    weights = load_file(folder / 'model.safetensors')
    assert [key for key in weights if key.startswith('quantizer.')] == ['quantizer.embedding']
    with torch.no_grad():
        assert torch.equal(weights['quantizer.embedding'], tokenizer.quantizer.codebook())


def test_components_given_as_classes_are_saved_under_their_names(tmp_path: Path):
    axes = dict(normalize=dict(type=L2Normalize), init=dict(type=NormalInit))
    folder = tiny_tokenizer({**FVQ, **axes}).save_pretrained(tmp_path / 't')
    described = json.loads((folder / 'config.json').read_text())['tokenizer']['quantizer']
    assert described['normalize'] == {'type': 'L2Normalize'}
    assert described['init'] == {'type': 'NormalInit'}


@torch.no_grad()
def test_tokenizer_loads_and_encodes_in_inference_mode(saved: tuple[Tokenizer, Path]):
    tokenizer, folder = saved
    images = random_images()
    expected = tokenizer.encode(images).indices_BL
    with torch.inference_mode():
        assert torch.equal(Tokenizer.from_pretrained(folder).encode(images).indices_BL, expected)


def test_weights_of_another_config_are_refused_naming_a_key(saved: tuple[Tokenizer, Path], tmp_path: Path):
    _, folder = saved
    other = tiny_tokenizer().save_pretrained(tmp_path / 'other')
    shutil.copy(other / 'model.safetensors', folder / 'model.safetensors')
    with pytest.raises(UserError, match=r'weights of another model: \d+ unexpected \(quantizer\.projector\.'):
        Tokenizer.from_pretrained(folder)

    wider = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold().save_pretrained(tmp_path / 'wider')
    shutil.copy(wider / 'model.safetensors', folder / 'model.safetensors')
    with pytest.raises(UserError, match=r'quantizer\.embedding is \(32, 8\) there and \(16, 8\) here'):
        Tokenizer.from_pretrained(folder)


def test_folder_with_foreign_files_is_never_replaced(saved: tuple[Tokenizer, Path], tmp_path: Path):
    tokenizer, folder = saved
    (folder / 'thesis.tex').write_text('three years of work')
    with pytest.raises(UserError, match='exists and is not a saved tokenizer'):
        tokenizer.save_pretrained(folder)
    assert (folder / 'thesis.tex').read_text() == 'three years of work'
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='exists and is not a saved tokenizer'):
        tokenizer.save_pretrained(tmp_path / 'file')
    with pytest.raises(UserError, match=r'cannot be made: .*file is a file'):
        tokenizer.save_pretrained(tmp_path / 'file' / 'tokenizer')


def test_home_is_expanded_to_save_and_to_load(
    saved: tuple[Tokenizer, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert saved[0].save_pretrained('~/again') == tmp_path / 'again'
    images = random_images(1, 8)
    again = Tokenizer.from_pretrained('~/again')
    assert torch.equal(again.encode(images).indices_BL, saved[0].eval().encode(images).indices_BL)


def test_readme_of_ones_own_is_never_replaced(saved: tuple[Tokenizer, Path]):
    tokenizer, folder = saved
    (folder / 'README.md').write_text('# My thesis\n\nlibrary_name: fvq\n')
    with pytest.raises(UserError, match='exists and is not a saved tokenizer'):
        tokenizer.save_pretrained(folder)
    assert (folder / 'README.md').read_text().startswith('# My thesis')


def test_older_tokenizer_is_replaced_whole_and_no_staging_is_left(saved: tuple[Tokenizer, Path]):
    tokenizer, folder = saved
    tokenizer.save_pretrained(folder)
    assert 'weights' not in json.loads((folder / 'config.json').read_text())
    assert [path.name for path in folder.parent.iterdir()] == ['tokenizer']


@pytest.mark.parametrize('broken', ['model_card', 'replace_folder', 'save_file'])
def test_saving_that_fails_leaves_the_older_tokenizer_whole(
    saved: tuple[Tokenizer, Path], monkeypatch: pytest.MonkeyPatch, broken: str
):
    tokenizer, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {'README.md', 'config.json', 'model.safetensors'}

    def fail(*arguments: object, **options: object) -> None:
        raise OSError('no space left on device')

    monkeypatch.setattr(write_folder, broken, fail)
    with pytest.raises(OSError, match='no space left'):
        tokenizer.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ['tokenizer']


def test_replacement_that_fails_half_way_puts_the_older_tokenizer_back(
    saved: tuple[Tokenizer, Path], monkeypatch: pytest.MonkeyPatch
):
    tokenizer, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rename, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError('cut off')
        rename(source, target)

    monkeypatch.setattr(write_folder.os, 'replace', second_fails)
    with pytest.raises(OSError, match='cut off'):
        tokenizer.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ['tokenizer']


def test_whoever_may_read_the_config_may_read_the_weights(saved: tuple[Tokenizer, Path]):
    modes = {(saved[1] / name).stat().st_mode for name in ('config.json', 'model.safetensors', 'README.md')}
    assert len(modes) == 1


def test_facts_of_a_loaded_tokenizer_are_saved_again_only_with_the_same_weights(saved: tuple[Tokenizer, Path]):
    folder = saved[1]
    loaded = Tokenizer.from_pretrained(folder)
    again = json.loads((loaded.save_pretrained(folder.with_name('again')) / 'config.json').read_text())
    assert again == json.loads((folder / 'config.json').read_text())
    assert again['weights'] == 'iter_7.pth'

    with torch.no_grad():
        next(loaded.parameters()).view(-1)[0].add_(1e-3)
    tuned = json.loads((loaded.save_pretrained(folder.with_name('tuned')) / 'config.json').read_text())
    assert tuned['weights_digest'] != again['weights_digest']
    assert 'weights' not in tuned


def test_fact_with_a_key_of_the_config_itself_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="'tokenizer' is a key of config"):
        tiny_tokenizer().save_pretrained(tmp_path / 't', {'tokenizer': 'fvq-16k'})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('path', ['fvq_quantizers.inits.NormalInit', 'fvq_quantizers.inits.normal_init.NormalInit'])
def test_import_path_of_a_registered_component_is_saved_as_its_name(tmp_path: Path, path: str):
    folder = tiny_tokenizer({**FVQ, 'init': dict(type=path)}).save_pretrained(tmp_path / 't')
    config = json.loads((folder / 'config.json').read_text())
    assert config['tokenizer']['quantizer']['init'] == {'type': 'NormalInit'}
    assert type(Tokenizer.from_pretrained(folder).quantizer.init) is NormalInit


@pytest.mark.parametrize(
    'name',
    [
        *('os.system', 'builtins.open', 'fvq.os.system', 'subprocess.Popen', 'evil.inits.NormalInit'),
        *('fvq_quantizers.inits.NormalInit', 'fvq_quantizers.inits.NormalInit.weights', 'fvq.NormalInit'),
    ],
)
def test_import_path_in_a_config_is_refused_and_not_followed(
    saved: tuple[Tokenizer, Path], monkeypatch: pytest.MonkeyPatch, name: str
):
    folder = saved[1]
    config = json.loads((folder / 'config.json').read_text())
    config['tokenizer']['encoder'] = [{'nested': {'type': name, 'command': f'touch {folder}/pwned'}}]
    (folder / 'config.json').write_text(json.dumps(config))
    monkeypatch.setattr(TOKENIZERS, 'build', lambda config: pytest.fail('it was built'))
    with pytest.raises(UserError, match=f"type '{name}' is an import path"):
        Tokenizer.from_pretrained(folder)


def test_broken_or_missing_files_are_refused_by_name(saved: tuple[Tokenizer, Path], tmp_path: Path):
    _, folder = saved
    weights = folder / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r'model\.safetensors cannot be read as safetensors'):
        Tokenizer.from_pretrained(folder)
    weights.unlink()
    with pytest.raises(UserError, match=r'model\.safetensors is missing'):
        Tokenizer.from_pretrained(folder)
    (folder / 'config.json').write_text('{')
    with pytest.raises(UserError, match=r'config\.json is not valid JSON'):
        Tokenizer.from_pretrained(folder)
    with pytest.raises(UserError, match=r'has no config\.json'):
        Tokenizer.from_pretrained(tmp_path)


def test_tokenizer_that_no_config_built_is_refused(tmp_path: Path):
    built = tiny_tokenizer()
    by_hand = TOKENIZERS.get('Tokenizer')(**{k: v for k, v in built.component_config.items() if k != 'type'})
    with pytest.raises(UserError, match='not built from a config'):
        by_hand.save_pretrained(tmp_path / 't')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_saved_with_a_warning_and_refused_by_name(tmp_path: Path, value: float):
    tokenizer = tiny_tokenizer()
    with torch.no_grad():
        tokenizer.decoder.conv_out.bias[1] = value
    with pytest.warns(
        UserWarning, match="'decoder.conv_out.bias' is not finite: 1 of its 3 .* refused when it is loaded"
    ):
        folder = tokenizer.save_pretrained(tmp_path / 'broken')
    with pytest.raises(NonFiniteError, match=r"model.safetensors: 'decoder.conv_out.bias' is not finite"):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize('stored', [torch.Tensor.to_sparse, lambda x: x.to(torch.float8_e5m2), torch.Tensor.half])
def test_weights_are_looked_at_however_they_are_stored(stored: Callable[[torch.Tensor], torch.Tensor]):
    good = torch.eye(3)
    check_finite_weights({'w': stored(good), 'n': torch.tensor(1)}, 'x')
    good[1, 1] = float('nan')
    with pytest.raises(NonFiniteError, match="x: 'w' is not finite"):
        check_finite_weights({'w': stored(good)}, 'x')
