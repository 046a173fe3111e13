"""Codebooks of image features: the extractor, the command, and what it writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import DATASETS, QUANTIZERS
from fvq_quantizers.codebook_files.patch_features import PatchFeatures
from fvq_quantizers.commands import make_codebook

MODEL = 'test_vit'  # timm's own for tests: 160 pixels, 10 x 10 patches of 16, 64 channels
OPTIONS = ['--model', MODEL, '--weights', 'random', '--num-workers', '0', '--device', 'cpu', '--codebook-size', '12']


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five small images of noise."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for i in range(5):
        pixels = torch.randint(0, 256, (20, 24, 3), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return folder


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 160, 160) * 2 - 1


def test_features_are_the_models_patch_tokens_of_normalised_images():
    features, x = PatchFeatures(MODEL, 'random'), images()
    assert features.image_size == 160
    got = features(x)
    mean, std = features.mean, features.std
    tokens = features.model.forward_features(((x + 1) / 2 - mean) / std)
    assert features.model.num_prefix_tokens == 1
    torch.testing.assert_close(got, tokens[:, 1:])
    assert not any(p.requires_grad for p in features.parameters())


def test_projection_and_pooling_act_on_patches():
    plain, x = PatchFeatures(MODEL, 'random'), images(1)
    patches = plain(x)
    projected = PatchFeatures(MODEL, 'random', projected=True)(x)
    torch.testing.assert_close(projected, plain.model.get_classifier()(patches))
    pooled = PatchFeatures(MODEL, 'random', pool=5)(x)
    corner = patches.unflatten(1, (10, 10))[:, :5, :5].mean((1, 2))
    assert pooled.shape == (1, 4, 64)
    torch.testing.assert_close(pooled[:, 0], corner)


def test_images_of_another_side_are_resized():
    features = PatchFeatures(MODEL, 'random')
    colour = torch.tensor([0.5, -1.0, 1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(features(colour.expand(1, 3, 64, 64)), features(colour.expand(1, 3, 160, 160)))


def test_convolutional_models_and_models_with_channels_last_give_the_same_order():
    features = PatchFeatures('test_resnet', 'random')
    x = torch.rand(1, 3, features.image_size, features.image_size)
    maps = features.model.forward_features(((x + 1) / 2 - features.mean) / features.std)
    assert maps.dim() == 4
    torch.testing.assert_close(features(x), maps.flatten(2).transpose(1, 2))

    class ChannelsLast(nn.Module):
        output_fmt = 'NHWC'

        def forward_features(self, pixels: Tensor) -> Tensor:
            return maps.permute(0, 2, 3, 1)

    features.model = ChannelsLast()
    torch.testing.assert_close(features(x), maps.flatten(2).transpose(1, 2))


def test_random_weights_follow_the_seed_and_a_file_gives_its_own(tmp_path: Path):
    one, same, other = (PatchFeatures(MODEL, 'random', seed=seed) for seed in (0, 0, 1))
    x = images(1)
    assert torch.equal(one(x), same(x))
    assert not torch.allclose(one(x), other(x))
    path = tmp_path / 'weights.pth'
    torch.save(one.model.state_dict(), path)
    torch.testing.assert_close(PatchFeatures(MODEL, str(path))(x), one(x))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(name='test_vitt'), "timm has no model 'test_vitt'; did you mean"),
        (dict(name=MODEL, weights='nowhere.pth'), 'nowhere.pth do not exist'),
        (dict(name=MODEL, weights='random', pool=0), 'pool must be 1 or more'),
    ],
)
def test_what_the_extractor_cannot_be_is_refused(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        PatchFeatures(**options)


def test_weights_of_another_model_are_refused(tmp_path: Path):
    path = tmp_path / 'other.pth'
    torch.save({'weight': torch.ones(2)}, path)
    with pytest.raises(UserError, match='no weights for test_vit from'):
        PatchFeatures(MODEL, str(path))


def test_pool_larger_than_the_map_is_refused():
    with pytest.raises(UserError, match='10x10 patches, fewer than pool=11'):
        PatchFeatures(MODEL, 'random', pool=11)(images(1))


def test_command_writes_a_codebook_that_a_quantizer_starts_from(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / 'made' / 'codes.safetensors'
    assert make_codebook.main([str(photos), str(out), *OPTIONS, '--seed', '3']) == 0
    assert '12 codes from 500 vectors of 5 images' in capsys.readouterr().out
    with safe_open(out, 'pt') as file:
        facts = file.metadata()
    wanted = dict(model=MODEL, weights='random', codebook_size='12', seed='3', images='5', vectors='500')
    assert {key: facts[key] for key in wanted} == wanted
    assert float(facts['inertia']) > 0
    quantizer = QUANTIZERS.build(
        dict(
            type='VectorQuantizer',
            codebook_size=12,
            code_dim=8,
            projector=dict(type='LinearProjector', source_dim=64),
            update=dict(type='Frozen'),
            init=dict(type='FileInit', path=str(out)),
        )
    )
    assert torch.equal(quantizer.embedding, load_file(out)['codebook'])
    assert [path.name for path in out.parent.iterdir()] == ['codes.safetensors'], 'nothing temporary is left'


def test_the_bundled_photos_give_only_their_training_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make_codebook, 'BUNDLED_CROPS', 3)
    out = tmp_path / 'codes.safetensors'
    assert make_codebook.main(['bundled', str(out), *OPTIONS]) == 0
    with safe_open(out, 'pt') as file:
        assert (file.metadata()['images'], file.metadata()['dataset']) == ('3', 'bundled')
    source = make_codebook.image_source('bundled', 518)
    assert (source['split'], source['crop_size']) == ('train', 224)
    assert len(DATASETS.build(source)) == 3


def test_same_seed_gives_the_same_codebook_and_vectors_are_drawn_evenly(photos: Path, tmp_path: Path):
    def codes(name: str, *options: str) -> Tensor:
        assert make_codebook.main([str(photos), str(tmp_path / name), *OPTIONS, '--batch-size', '2', *options]) == 0
        return load_file(tmp_path / name)['codebook']

    few = ('--vectors-per-code', '4')
    one, same, other = codes('1.safetensors', *few), codes('2.safetensors', *few), codes('3.safetensors')
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    with safe_open(tmp_path / '1.safetensors', 'pt') as file:
        assert file.metadata()['vectors'] == '48'


@pytest.mark.parametrize(
    ('out', 'options', 'message'),
    [
        ('codes.pt', [], 'is not a .safetensors file'),
        ('codes.safetensors', ['--codebook-size', '501'], '5 images of 100 patches give 500 vectors for 501 codes'),
        ('codes.safetensors', ['--codebook-size', '0'], 'must be 1 or more'),
    ],
)
def test_command_refuses_what_cannot_be(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, options: list[str], message: str
):
    assert make_codebook.main([str(photos), str(tmp_path / out), *OPTIONS, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / out).exists()


def test_disk_without_room_is_noticed_before_the_work(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=500 * 64 * 4 - 1))
    assert make_codebook.main([str(photos), str(tmp_path / 'codes.safetensors'), *OPTIONS]) == 2
    assert '500 vectors of 64 channels need 0.0 GB' in capsys.readouterr().err


def test_too_many_unreadable_images_stop_it_and_leave_nothing(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (photos / 'broken.png').write_bytes(b'no image')
    out = tmp_path / 'made' / 'codes.safetensors'
    assert make_codebook.main([str(photos), str(out), *OPTIONS]) == 2
    assert '1 of 6 images cannot be read' in capsys.readouterr().err
    assert not list(out.parent.iterdir())


def test_existing_file_is_never_replaced(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / 'codes.safetensors'
    out.write_text('mine')
    assert make_codebook.main([str(photos), str(out), *OPTIONS]) == 2
    assert 'exists' in capsys.readouterr().err
    assert out.read_text() == 'mine'
