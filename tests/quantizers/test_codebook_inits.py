"""Start values of the raw codebook: their spread, k-means, and files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.registry import MODELS, QUANTIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.rehearsal.shrink_config import shrink_config

from ..tiny import tiny_tokenizer
from .matrix import VECTOR, D, K, build, latents, vectors

SOURCE = 5


def test_kmeans_start_recovers_clusters_that_lie_apart():
    centres = torch.tensor([[50.0] * D, [-50.0] * D])
    z_ND = (centres + 0.1 * torch.randn(200, 2, D)).flatten(0, 1)
    quantizer = build(dict(VECTOR, codebook_size=2), init=dict(type='KMeansInit'))
    assert quantizer.needs_init
    quantizer.initialize(z_ND)
    found = quantizer.embedding.detach()
    torch.testing.assert_close(found[found[:, 0].argsort(descending=True)], centres, atol=0.05, rtol=0)


def test_kmeans_start_makes_every_code_the_mean_of_its_latents():
    z_ND = (5 * torch.randn(K, D) + torch.randn(20, K, D)).flatten(0, 1)
    quantizer = build(VECTOR, init=dict(type='KMeansInit', iterations=100))
    quantizer.initialize(z_ND)
    mine = torch.cdist(z_ND, quantizer.embedding.detach()).argmin(1)
    means = torch.stack([z_ND[mine == k].mean(0) for k in range(K)])
    torch.testing.assert_close(quantizer.embedding.detach(), means, atol=0.05, rtol=0)


def test_kmeans_start_from_fewer_latents_than_codes_uses_each():
    z_ND = torch.randn(5, D)
    quantizer = build(VECTOR, init=dict(type='KMeansInit'))
    quantizer.initialize(z_ND.repeat(3, 1))
    assert torch.cdist(quantizer.embedding.detach(), z_ND).min(1).values.max() == 0
    assert len(quantizer.embedding.unique(dim=0)) == 5


def test_start_from_latents_takes_each_at_most_once_while_there_are_enough():
    z_ND = torch.randn(3 * K, D)
    quantizer, again = (build(VECTOR, init=dict(type='LatentInit')) for _ in range(2))
    for each in (quantizer, again):
        torch.manual_seed(7)
        each.initialize(z_ND.repeat(2, 1))  # repeats count once
    codes = quantizer.embedding.detach()
    assert torch.equal(codes, again.embedding)
    assert len(codes.unique(dim=0)) == K
    assert torch.cdist(codes, z_ND).min(1).values.max() == 0
    quantizer = build(VECTOR, init=dict(type='LatentInit'))
    quantizer.initialize(z_ND[:3])
    assert torch.equal(quantizer.embedding.detach().unique(dim=0), z_ND[:3].unique(dim=0))


@pytest.mark.parametrize('around', [{}, dict(type='ResidualQuantizer', depth=2), dict(type='MultiScaleQuantizer')])
def test_first_training_forward_starts_from_its_own_latents_where_nobody_has_before(around: dict[str, Any]):
    inner = dict(VECTOR, init=dict(type='KMeansInit'))
    quantizer, other = (QUANTIZERS.build(dict(around, quantizer=inner) if around else inner) for _ in range(2))
    z = latents()
    quantizer.eval()(z)
    assert quantizer.needs_init
    for begin in (lambda: quantizer.train()(z), lambda: other.initialize(vectors(z))):
        torch.manual_seed(0)
        begin()
    assert not quantizer.needs_init
    assert torch.equal(quantizer.codebook(), other.codebook())
    quantizer(latents())
    assert torch.equal(quantizer.codebook(), other.codebook())


@pytest.mark.parametrize('around', [{}, dict(type='ResidualQuantizer', depth=2), dict(type='MultiScaleQuantizer')])
def test_a_frozen_codebook_is_not_started_from_latents(around: dict[str, Any]):
    inner = dict(VECTOR, init=dict(type='KMeansInit'))
    quantizer = QUANTIZERS.build(dict(around, quantizer=inner) if around else inner)
    before = copy.deepcopy(quantizer.state_dict())
    quantizer.freeze()
    for begin in (lambda: quantizer.train()(latents()), lambda: quantizer.initialize(vectors(latents()))):
        with pytest.raises(UserError, match='frozen, but KMeansInit has yet to set its codes from latents; start from'):
            begin()
    assert identical(quantizer.state_dict(), before)


@pytest.mark.parametrize('start', [None, 'saved'])
def test_a_smoke_run_takes_latents_only_if_nothing_is_loaded(start: str | None):
    config = str(Path(__file__).parents[2] / 'configs/mini/vq_kmeans.py')
    cfg = shrink_config(load_config(config, {'load_from': start, 'model.freeze': ['quantizer']}))
    assert MODELS.build(cfg.model).tokenizer.quantizer.needs_init == (start is None)


def test_codebook_that_was_started_before_is_loaded_and_not_started_again():
    quantizer, other = (build(VECTOR, init=dict(type='KMeansInit')) for _ in range(2))
    quantizer.initialize(torch.randn(40, D))
    other.load_state_dict(quantizer.state_dict())
    assert not other.needs_init


def test_weights_of_a_codebook_that_was_not_started_ask_for_a_start_again():
    quantizer, other = (build(VECTOR, init=dict(type='KMeansInit')) for _ in range(2))
    quantizer.initialize(torch.randn(40, D))
    assert not quantizer.needs_init
    quantizer.load_state_dict(other.state_dict())
    assert quantizer.needs_init


def test_folded_codebook_is_what_it_is_and_wants_no_start():
    folded = build(VECTOR, init=dict(type='KMeansInit')).fold().train()
    before = folded.codebook().clone()
    folded(latents())
    assert torch.equal(folded.codebook(), before)


def test_latents_that_no_start_wants_are_refused():
    with pytest.raises(UserError, match='UniformInit does not start from latents'):
        build(VECTOR).initialize(torch.randn(40, D))
    with pytest.raises(UserError, match=rf'expected latents \(N, {D}\), got \(40, 3\)'):
        build(VECTOR, init=dict(type='KMeansInit')).initialize(torch.randn(40, 3))


@pytest.mark.parametrize(
    'init',
    [dict(type='KMeansInit', iterations=0), dict(type='NormalInit', std=-1.0), dict(type='UniformInit', scale=-1.0)],
)
def test_negative_spreads_and_no_iterations_are_refused(init: dict[str, Any]):
    with pytest.raises(UserError, match=f'{init["type"]}: .* must be'):
        build(VECTOR, init=init)


def test_start_values_have_the_promised_spread():
    def start(**init: Any) -> Tensor:
        return QUANTIZERS.build(
            dict(type='VectorQuantizer', codebook_size=512, code_dim=16, init=init)
        ).embedding.detach()

    uniform = start(type='UniformInit')
    assert 0.9 / 512 < uniform.abs().max() <= 1 / 512
    assert start(type='NormalInit').std() == pytest.approx(16**-0.5, rel=0.05)
    assert start(type='NormalInit', std=2.0).std() == pytest.approx(2.0, rel=0.05)
    torch.testing.assert_close(start(type='UniformInit', normalize=True).norm(dim=1), torch.ones(512))


def write(path: Path, codes: Tensor, **others: Tensor) -> Path:
    """A codebook file of the kind of its suffix: .safetensors and .pth with names, .pt only the tensor."""
    if path.suffix == '.safetensors':
        save_file({'codebook': codes, **others}, path)
    elif path.suffix == '.npy':
        np.save(path, codes.numpy())
    else:
        torch.save(codes if path.suffix == '.pt' else {'codebook': codes, 'step': 3, **others}, path)
    return path


def from_file(path: Path, key: str | None = None, **changes: Any) -> dict[str, Any]:
    """A frozen codebook of SOURCE channels, as VQGAN-LC has it."""
    init = dict(type='FileInit', path=str(path), key=key)
    projector = dict(type='LinearProjector', source_dim=SOURCE)
    return {**VECTOR, 'projector': projector, 'update': dict(type='Frozen'), 'init': init, **changes}


@pytest.mark.parametrize('suffix', ['.safetensors', '.npy', '.pt', '.pth'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_file_start_is_what_the_file_holds(tmp_path: Path, suffix: str, dtype: torch.dtype):
    codes = torch.randn(K, SOURCE).to(dtype)
    quantizer = QUANTIZERS.build(from_file(write(tmp_path / f'codes{suffix}', codes)))
    assert torch.equal(quantizer.embedding, codes.float())
    assert not quantizer.embedding.requires_grad
    assert quantizer.codebook().shape == (K, D)


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_file_with_several_tensors_needs_a_key(tmp_path: Path, suffix: str):
    codes = torch.randn(K, SOURCE)
    path = write(tmp_path / f'codes{suffix}', codes, counts=torch.ones(K))
    assert torch.equal(QUANTIZERS.build(from_file(path, 'codebook')).embedding, codes)
    with pytest.raises(UserError, match='holds more than one tensor; set key to one of codebook, counts'):
        QUANTIZERS.build(from_file(path))
    with pytest.raises(UserError, match="holds no tensor 'codes'; set key to one of codebook, counts"):
        QUANTIZERS.build(from_file(path, 'codes'))


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_file_of_another_shape_names_the_argument_to_set(tmp_path: Path, device: str):
    path = write(tmp_path / 'codes.npy', torch.randn(12, 7))
    with (
        torch.device(device),
        pytest.raises(UserError, match='set codebook_size=12 and give the projector source_dim=7'),
    ):
        QUANTIZERS.build(from_file(path))
    flat = write(tmp_path / 'flat.npy', torch.randn(12))
    with torch.device(device), pytest.raises(UserError, match=r'tensor of shape \(12,\); expected \(codes, channels\)'):
        QUANTIZERS.build(from_file(flat))


def test_codes_that_are_not_finite_are_refused(tmp_path: Path):
    codes = torch.randn(K, SOURCE)
    codes[3, 1], codes[9] = float('nan'), float('inf')
    with pytest.raises(UserError, match=r'2 codes of .* are not finite, the first is number 3'):
        QUANTIZERS.build(from_file(write(tmp_path / 'codes.pt', codes)))


def test_broken_and_foreign_files_are_refused(tmp_path: Path):
    for suffix in ('.safetensors', '.npy', '.pt'):
        path = tmp_path / f'broken{suffix}'
        path.write_bytes(b'not a codebook')
        with pytest.raises(UserError, match=f'broken{suffix} cannot be read'):
            QUANTIZERS.build(from_file(path))
    torch.save([1, 2], tmp_path / 'list.pt')
    with pytest.raises(UserError, match='holds a list, not a tensor'):
        QUANTIZERS.build(from_file(tmp_path / 'list.pt'))
    np.save(tmp_path / 'object.npy', np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match='cannot be read'):
        QUANTIZERS.build(from_file(tmp_path / 'object.npy'))
    with pytest.raises(UserError, match=r'is not a \.safetensors, \.npy, \.pt, \.pth, \.bin, \.ckpt file'):
        QUANTIZERS.build(from_file(tmp_path / 'codes.csv'))


def test_missing_file_is_named_when_built_but_not_on_the_meta_device(tmp_path: Path):
    config = from_file(tmp_path / 'absent.npy')
    with pytest.raises(UserError, match=r'absent\.npy does not exist; make it with tools/make_codebook\.py'):
        QUANTIZERS.build(config)
    with torch.device('meta'):
        quantizer = QUANTIZERS.build(config)
    assert quantizer.embedding.shape == (K, SOURCE)
    assert quantizer.embedding.is_meta
    write(tmp_path / 'absent.npy', torch.randn(K, SOURCE))
    with torch.device('meta'):
        assert QUANTIZERS.build(config).embedding.is_meta


@pytest.mark.parametrize('fold', [False, True])
@torch.no_grad()
def test_saved_tokenizer_does_not_need_the_codebook_file(tmp_path: Path, fold: bool):
    path = write(tmp_path / 'codes.npy', torch.randn(K, SOURCE))
    tokenizer = tiny_tokenizer(from_file(path))
    (tokenizer.fold() if fold else tokenizer).save_pretrained(tmp_path / 'saved')
    path.unlink()
    loaded = Tokenizer.from_pretrained(tmp_path / 'saved')
    assert torch.equal(loaded.quantizer.codebook(), tokenizer.quantizer.codebook())
    assert 'codes.npy' not in (tmp_path / 'saved' / 'config.json').read_text()


def test_smoke_run_needs_no_file(tmp_path: Path):
    loader = dict(dataset=dict(type='BundledPhotos'), batch_size=8, num_workers=2)
    cfg = Config(
        dict(
            model=dict(quantizer=from_file(tmp_path / 'absent.pt', codebook_size=100_000)),
            train_dataloader=loader,
            val_dataloader=loader,
            train_cfg=dict(max_iters=9),
            default_hooks=dict(checkpoint=dict(), training_log=dict()),
        )
    )
    quantizer = QUANTIZERS.build(shrink_config(cfg).model.quantizer)
    assert quantizer.embedding.shape == (256, SOURCE)
    assert quantizer.embedding.std() == pytest.approx(SOURCE**-0.5, rel=0.2)
