"""Representations for RCG: what the networks themselves give, a store beside the codes', training on it, and bad input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Sequence
from fvq_core.errors import UserError
from fvq_core.losses.perceptual import MissingWeightsError
from fvq_core.losses.perceptual.vit_features import SMALL
from fvq_generators.codes_store import CodesStore
from fvq_generators.commands import extract_codes, extract_representations
from fvq_generators.data import RepresentedCodes
from fvq_generators.extraction.moco_v3 import MoCoV3
from fvq_generators.extraction.representation_encoder import RepresentationEncoder
from fvq_generators.pretrained import load_generator
from tests.tiny import tiny_tokenizer

from ..cli.helpers import tool
from ..pictures import picture, save

HIDDEN, CHANNELS, SIDE, PATCH = 20, 6, 32, 16
TWICE_NUMBERED = {  # as RCG's ViT-L was saved
    'blocks.13.norm1.': 'blocks.13.norm13.',
    'blocks.13.mlp.fc1.': 'blocks.13.mlp.fc13.',
    'blocks.14.norm2.': 'blocks.14.norm14.',
    'blocks.14.mlp.fc2.': 'blocks.14.mlp.fc14.',
}


class PlainMoCo:
    """MoCo v3's encoder written down once more, as functions of a state dict with its keys."""

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        self.depth, self.heads = depth, heads
        shapes: dict[str, tuple[int, ...]] = {
            'cls_token': (1, 1, dim),
            'pos_embed': (1, 1 + (SIDE // PATCH) ** 2, dim),
            'patch_embed.proj.weight': (dim, 3, PATCH, PATCH),
            'patch_embed.proj.bias': (dim,),
        }
        for i in range(depth):
            linears = {'attn.qkv': (3 * dim, dim), 'attn.proj': (dim, dim), 'mlp.fc1': (4 * dim, dim)}
            for name, shape in {**linears, 'mlp.fc2': (dim, 4 * dim), 'norm1': (dim,), 'norm2': (dim,)}.items():
                shapes |= {f'blocks.{i}.{name}.weight': shape, f'blocks.{i}.{name}.bias': shape[:1]}
        shapes |= {'norm.weight': (dim,), 'norm.bias': (dim,)}
        shapes |= {
            'head.0.weight': (HIDDEN, dim),
            'head.3.weight': (HIDDEN, HIDDEN),
            'head.6.weight': (CHANNELS, HIDDEN),
        }
        for number, size in ((1, HIDDEN), (4, HIDDEN), (7, CHANNELS)):
            shapes |= {f'head.{number}.{name}': (size,) for name in ('running_mean', 'running_var')}
        for number in (1, 4):  # the last one has neither gain nor bias
            shapes |= {f'head.{number}.{name}': (HIDDEN,) for name in ('weight', 'bias')}
        rng = torch.Generator().manual_seed(dim)
        self.state = {key: 0.3 * torch.randn(shape, generator=rng) for key, shape in shapes.items()}
        for number in (1, 4, 7):
            self.state[f'head.{number}.running_var'] = self.state[f'head.{number}.running_var'].abs() + 0.1

    def __call__(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to the projection."""
        s = self.state
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (images - mean[:, None, None]) / std[:, None, None]
        x = F.conv2d(x, s['patch_embed.proj.weight'], s['patch_embed.proj.bias'], stride=PATCH).flatten(2).mT
        x = torch.cat([s['cls_token'].expand(len(x), -1, -1), x], 1) + s['pos_embed']
        for i in range(self.depth):
            x = x + self.attention(self.norm(x, f'blocks.{i}.norm1'), f'blocks.{i}.attn')
            inner = F.gelu(self.linear(self.norm(x, f'blocks.{i}.norm2'), f'blocks.{i}.mlp.fc1'))
            x = x + self.linear(inner, f'blocks.{i}.mlp.fc2')
        x = self.norm(x, 'norm')[:, 0]
        for number in (0, 3, 6):
            x = x @ s[f'head.{number}.weight'].T
            mean, variance = (s[f'head.{number + 1}.running_{name}'] for name in ('mean', 'var'))
            x = (x - mean) / (variance + 1e-5).sqrt()
            if number < 6:
                x = (x * s[f'head.{number + 1}.weight'] + s[f'head.{number + 1}.bias']).relu()
        return x

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f'{name}.weight'].T + self.state[f'{name}.bias']

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.state[f'{name}.weight'] + self.state[f'{name}.bias']

    def attention(self, x: Tensor, name: str) -> Tensor:
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.linear(x, f'{name}.qkv').chunk(3, -1)
        )
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return self.linear((weights @ v).transpose(1, 2).flatten(2), f'{name}.proj')

    def save(self, path: Path, **more: Tensor) -> Path:
        """A checkpoint as main_moco.py writes it, with what else belongs to the run."""
        counters = {f'head.{number}.num_batches_tracked': torch.tensor(5) for number in (1, 4, 7)}
        state = {f'module.base_encoder.{key}': value for key, value in {**self.state, **counters}.items()}
        state |= {'module.momentum_encoder.norm.bias': torch.zeros(3), 'module.predictor.0.weight': torch.zeros(2, 2)}
        torch.save(dict(epoch=300, arch='vit_base', state_dict={**state, **more}, optimizer={}, scaler={}), path)
        return path

    @property
    def options(self) -> dict[str, Any]:
        dim = self.state['cls_token'].shape[-1]
        return dict(embed_dim=dim, depth=self.depth, num_heads=self.heads, img_size=SIDE)


def load(plain: PlainMoCo, path: Path, name: str = 'moco_v3_vit_base', **changed: Any) -> MoCoV3:
    return MoCoV3(name, path, options={**plain.options, **changed}, hidden=HIDDEN, channels=CHANNELS)


@pytest.mark.parametrize(
    ('name', 'sizes'),
    [('moco_v3_vit_base', (24, 2, 3)), ('moco_v3_vit_small', (16, 3, 4)), ('moco_v3_vit_large', (8, 15, 2))],
)
def test_moco_v3_projects_as_its_checkpoint_says(name: str, sizes: tuple[int, int, int], tmp_path: Path):
    plain = PlainMoCo(*sizes)
    file = plain.save(tmp_path / 'moco.pth.tar')
    saved = torch.load(file, weights_only=True)
    for right, wrong in TWICE_NUMBERED.items():
        saved['state_dict'] = {key.replace(right, wrong): value for key, value in saved['state_dict'].items()}
    torch.save(saved, file)
    network = load(plain, file, name)
    images = torch.rand(3, 3, SIDE, SIDE)
    torch.testing.assert_close(network.train()(2 * images - 1), plain(images), rtol=1e-4, atol=1e-4)
    assert network.provenance.startswith(f'{name}, moco.pth.tar, sha256 ')


def test_other_files_are_refused_in_a_line(tmp_path: Path):
    plain = PlainMoCo(24, 2, 3)
    file = plain.save(tmp_path / 'moco.pth')
    with pytest.raises(
        UserError, match=r'weights of another model: .*attn.proj.bias is \(24,\) there and \(48,\) here'
    ):
        load(plain, file, embed_dim=48)
    with pytest.raises(UserError, match=r'weights of another model: 12 missing \(blocks.2'):
        load(plain, file, depth=3)
    plain.save(file, **{'module.queue': torch.zeros(2)})
    with pytest.raises(UserError, match=r'unknown key queue'):
        load(plain, file)
    plain.save(file, **{'module.base_encoder.fc.weight': torch.zeros(2)})
    with pytest.raises(UserError, match=r'1 unexpected \(fc\.weight\)'):
        load(plain, file)
    torch.save({'state_dict': {'module.head.weight': torch.zeros(2, 2)}}, file)
    with pytest.raises(UserError, match=r'none of its keys starts with module.base_encoder, .*linear classifier'):
        load(plain, file)
    with pytest.raises(MissingWeightsError, match=r'moco_v3_vit_base: no weights; give the file'):
        MoCoV3('moco_v3_vit_base', options=plain.options)
    with pytest.raises(MissingWeightsError, match=r'gone\.pth'):
        load(plain, tmp_path / 'gone.pth')
    with pytest.raises(UserError, match=r'random weights contradict'):
        RepresentationEncoder('test_vit', file, random=True)
    with pytest.raises(UserError, match=r"no network 'moco_v3_vit_hug'"):
        RepresentationEncoder('moco_v3_vit_hug', file)


@pytest.mark.parametrize('name', ['test_vit', 'vit_base_patch16_siglip_gap_224'])
def test_other_transformers_give_what_their_classifier_would_see(name: str, tmp_path: Path):
    options = {} if name == 'test_vit' else SMALL
    torch.manual_seed(0)
    reference: nn.Module = timm.create_model(name, num_classes=0, **options).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save(reference.state_dict(), tmp_path / 'weights.pth')
    encoder = RepresentationEncoder(name, tmp_path / 'weights.pth', options=options)
    images = torch.rand(2, 3, 48, 48)
    side = encoder.side
    with torch.no_grad():
        expected = reference(F.interpolate((images - 0.5) / 0.5, (side, side), mode='bicubic'))
    found = encoder.latents(2 * images - 1)
    assert found.layout.positions == Sequence(1)
    torch.testing.assert_close(found.values[..., 0], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def stores(tmp_path: Path) -> argparse.Namespace:
    """Codes and representations of two random crops of five images of two classes, and one that cannot be read."""
    for number in range(5):
        save(picture(40, 30 + number, number), tmp_path / 'photos' / f'class{number % 2}' / f'{number}.png')
    (tmp_path / 'photos/class0/broken.png').write_bytes(b'not a picture')
    tiny_tokenizer().save_pretrained(tmp_path / 'tokenizer')
    found = argparse.Namespace(root=tmp_path, codes=tmp_path / 'codes', vectors=tmp_path / 'vectors')
    found.images = str(tmp_path / 'photos')
    found.crops = [
        '--size',
        '12',
        '--crops',
        'random',
        '2',
        '--workers',
        '0',
        '--device',
        'cpu',
        '--max-unreadable',
        '0.5',
    ]
    assert extract_codes.main([str(tmp_path / 'tokenizer'), found.images, str(found.codes), *found.crops]) == 0
    assert extract_representations.main(['test_vit', found.images, str(found.vectors), *found.crops, '--random']) == 0
    return found


def test_a_store_of_vectors_has_labels_crops_and_where_they_come_from(
    stores: argparse.Namespace, capsys: pytest.CaptureFixture[str]
):
    store = CodesStore(stores.vectors)
    store.verify()
    manifest = store.manifest
    assert (len(store), store.num_crops, store.labels.tolist()) == (5, 2, [0, 0, 0, 1, 1])
    assert manifest.tokenizer == 'test_vit, random weights, seed 0: not trained'
    assert manifest.crops == CodesStore(stores.codes).manifest.crops
    assert [Path(name).name for name in manifest.unreadable] == ['broken.png']
    assert store.latents(0, 0).shape == (64, 1)
    assert not torch.allclose(store.latents(0, 0), store.latents(0, 1)), 'another crop'
    capsys.readouterr()
    again = ['test_vit', stores.images, str(stores.vectors), *stores.crops, '--random']
    assert extract_representations.main(again) == 0
    assert '1 of 1 shards already done' in capsys.readouterr().out
    assert extract_representations.main(['vit_tiny_patch16_224', *again[1:]]) == 2
    assert 'made otherwise (layout' in capsys.readouterr().err
    assert extract_representations.main([*again[:2], str(stores.root / 'other'), *stores.crops]) == 2
    said = capsys.readouterr().err
    assert "give the file of test_vit's weights" in said
    assert said.count('\n') == 1


def test_codes_come_with_the_vector_of_their_own_crop(stores: argparse.Namespace):
    data, vectors = RepresentedCodes(str(stores.codes), str(stores.vectors)), CodesStore(stores.vectors)
    crops = set()
    for position in range(20):
        sample: Any = data[position % 5, position]
        (crop,) = [c for c in (0, 1) if torch.equal(sample['codes'], data.stores[0].codes(position % 5, c))]
        assert torch.equal(sample['captions'], vectors.latents(position % 5, crop).T)
        crops.add(crop)
    assert crops == {0, 1}
    batch = data.collate([data[0], data[3]])
    assert batch['captions'].shape == (2, 1, 64)
    assert batch['labels'].tolist() == [0, 1]
    with pytest.raises(UserError, match=r'not one vector a crop; make it with tools/extract_representations'):
        RepresentedCodes(str(stores.codes), str(stores.codes))
    other = ['--seed', '1', '--flip', *stores.crops, '--random']
    assert extract_representations.main(['test_vit', stores.images, str(stores.root / 'other'), *other]) == 0
    with pytest.raises(UserError, match=r'not of the same crops, they differ in crops, seed; extract both'):
        RepresentedCodes(str(stores.codes), str(stores.root / 'other'))


RUN = """
base = 'configs/generation/rcg_photos.py'
train_dataloader = dict(batch_size=4, dataset={dataset})
train_cfg = dict(max_iters=2)
"""


def test_the_representation_diffusion_trains_on_the_store_alone(stores: argparse.Namespace):
    run = RUN.format(dataset=dict(_delete_=True, type='CodesDataset', root=str(stores.vectors))) + (
        "model = dict(generator=dict(_delete_=True, type='RepresentationDiffusion', dim=32, width=32, depth=1, num_classes=2,"
        "\n    layout=dict(type='Sequence', length=1, channels=64), steps=20))\n"
        'default_hooks = dict(report=dict(sampling=dict(_delete_=True, eta=1.0)))\n'
    )
    (stores.root / 'rdm.py').write_text(run)
    done = tool('train', str(stores.root / 'rdm.py'), '--work-dir', str(stores.root / 'run'), cwd=stores.root)
    assert done.returncode == 0, done.stderr
    model: Any = load_generator(stores.root / 'run/generator')[0]
    drawn = model.sample(torch.tensor([0, 1]), seeds=[1, 2], steps=5)
    assert drawn.values.shape == (2, 64, 1)
    assert drawn.values.isfinite().all()


def test_rcg_trains_on_both_stores_and_draws_images(stores: argparse.Namespace):
    dataset = dict(root=str(stores.codes), representations=str(stores.vectors))
    run = RUN.format(dataset=dataset) + (
        'model = dict(generator=dict(layout=dict(height=6, width=6, codebook_size=16)))\n'
        "model['generator'].update(representation=dict(dim=32, width=32, depth=1), mage=dict(dim=32, depth=1))\n"
    )
    (stores.root / 'rcg.py').write_text(run)
    done = tool('train', str(stores.root / 'rcg.py'), '--work-dir', str(stores.root / 'run'), cwd=stores.root)
    assert done.returncode == 0, done.stderr
    drawn = stores.root / 'drawn'
    call = [
        str(stores.root / 'run/generator'),
        str(stores.root / 'tokenizer'),
        '--num',
        '2',
        '--npz',
        '--out',
        str(drawn),
    ]
    done = tool('sample', *call, '--steps', '3', '--representation-steps', '5', '--device', 'cpu', cwd=stores.root)
    assert done.returncode == 0, done.stderr
    with np.load(drawn / 'samples.npz') as file:
        assert file['arr_0'].shape == (2, 12, 12, 3)
