"""Kinds of models that are still to come train, save, load and extract through what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders.vqgan import VQGANDecoder
from fvq_core.codes import CodeLayout, Grid, LatentLayout, Latents, Sequence
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.quantizer import DepthCodes
from fvq_core.registry import DECODERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.runner import Runner
from fvq_eval.analysis.sources import latents_and_counts
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.commands.reconstruct_files import reconstruct_files
from fvq_eval.presets import find_preset
from fvq_eval.reconstruction import PresetEvaluator
from fvq_generators.codes_store import CodesStore
from fvq_generators.extraction.extract_codes import extract_codes
from fvq_generators.extraction.images import PhotoParts
from fvq_generators.extraction.multi_crop import parse_crops
from fvq_generators.fingerprint import tokenizer_hash
from tests.pictures import picture, save
from tests.tiny import HALF, kl_config, tokenizer_config

from .stand_ins import DIM, SIDE, TOKENS

CONFIG = str(Path(__file__).parents[2] / 'configs/mini/vq.py')
SEQUENCE = dict(
    type='Tokenizer',
    encoder=dict(type='SequenceEncoderStandIn'),
    quantizer=dict(
        type='ResidualQuantizer', depth=2, quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=DIM)
    ),
    decoder=dict(type='SequenceDecoderStandIn'),
    quant_kernel=0,
)
CONTINUOUS = kl_config(kl_weight=1e-3, latent_scale=0.5, latent_shift=0.25)
OF_PIXELS = [dict(type='PSNR'), dict(type='SSIM')]


def run(
    tokenizer: dict[str, Any],
    work_dir: Path,
    metrics: list[dict[str, Any]] | None = None,
    side: int = SIDE,
    **report: Any,
) -> Runner:
    cfg = load_config(CONFIG, {'train_cfg.max_iters': 3, 'train_dataloader.batch_size': 2}, work_dir=str(work_dir))
    cfg.model.tokenizer = tokenizer
    cfg.val_dataloader.dataset.crops = 4
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.crop_size = side
    cfg.default_hooks.report.update(report)
    if metrics is not None:
        cfg.val_evaluator = metrics
    return Runner.from_cfg(cfg)


def images(batch: int = 2) -> Tensor:
    return from_uint8(torch.randint(256, (batch, 3, SIDE, SIDE), dtype=torch.uint8))


@pytest.fixture(scope='module')
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run of the 1-D tokenizer."""
    folder = tmp_path_factory.mktemp('sequences')
    run(SEQUENCE, folder, dataset=dict(type='WholePhotos', height=SIDE)).train()
    return folder


@pytest.fixture(scope='module')
def continuous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run of the continuous autoencoder."""
    folder = tmp_path_factory.mktemp('continuous')
    run(CONTINUOUS, folder, OF_PIXELS).train()
    return folder


def extract(folder: Path, store: Path) -> CodesStore:
    autoencoder = Autoencoder.from_pretrained(folder)
    names = dict(tokenizer='a small model', source='bundled photos')
    extract_codes(autoencoder, PhotoParts(), store, parse_crops(['center'], SIDE), names=names, log=lambda line: None)
    return CodesStore(store)


@torch.no_grad()
def test_a_1d_tokenizer_with_residual_codes_trains_and_is_saved(sequences: Path):
    metrics = json.loads((sequences / 'metrics.json').read_text())['metrics']
    assert {'psnr', 'usage', 'quantization_error', 'usage_window'} <= metrics.keys()
    assert (sequences / 'codebook.png').is_file()
    tokenizer = Tokenizer.from_pretrained(sequences / 'tokenizer')
    codes = tokenizer.encode(images())
    assert codes.layout == tokenizer.layout(SIDE, SIDE) == CodeLayout(Sequence(TOKENS), (16, 16))
    assert codes.unflatten().shape == (2, TOKENS, 2)
    batch = images()
    assert torch.equal(tokenizer.decode(tokenizer.encode(batch)), tokenizer(batch).reconstruction)
    assert isinstance(tokenizer.quantizer, DepthCodes)
    assert tokenizer.quantizer.embed_depth(codes).shape == (2, 2, DIM, TOKENS)


def test_the_card_of_a_model_of_one_size_has_lines_that_work(sequences: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(sequences)
    card = (sequences / 'tokenizer/README.md').read_text()
    assert f'| image sides | {SIDE}x{SIDE} pixels only |' in card
    assert f'| codes of a {SIDE}x{SIDE} image | {2 * TOKENS} codes,' in card
    (code,) = re.findall(r'```python\n(.*?)```', card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names['images'].shape == (1, 3, SIDE, SIDE)


def test_a_model_of_one_size_is_trained_and_evaluated_on_that_size_only(tmp_path: Path):
    with pytest.raises(
        UserError, match=f'train_dataloader: SequenceEncoderStandIn: images are {SIDE}x{SIDE}, got 64x64'
    ):
        run(SEQUENCE, tmp_path, side=64)
    evaluator = PresetEvaluator(['ibq'], extractor=False, image_size=64)
    with pytest.raises(UserError, match=f"preset 'ibq': SequenceEncoderStandIn: images are {SIDE}x{SIDE}, got 64x64"):
        evaluator.evaluate(TOKENIZERS.build(SEQUENCE), PhotoParts())


def test_a_report_with_whole_photos_is_finished_for_a_model_of_one_size(sequences: Path):
    assert (sequences / 'reconstructions.png').is_file()
    assert 'shows the evaluation images instead of the dataset' in ''.join(
        p.read_text() for p in sequences.rglob('*.log')
    )


def test_codes_of_a_1d_tokenizer_go_into_a_store(sequences: Path, tmp_path: Path):
    store = extract(sequences / 'tokenizer', tmp_path / 'store')
    tokenizer = Tokenizer.from_pretrained(sequences / 'tokenizer')
    assert store.layout == CodeLayout(Sequence(TOKENS), (16, 16))
    assert store.tokenizer_hash == tokenizer_hash(tokenizer)
    assert store.all_codes(3).shape == (1, 2 * TOKENS)
    store.verify()


@torch.no_grad()
def test_a_continuous_autoencoder_refuses_labels_other_latents_and_what_are_not_images():
    autoencoder = TOKENIZERS.build(CONTINUOUS).eval()
    name, latents = 'KLAutoencoder', autoencoder.encode(images())
    for scale, shift in ((1.0, 0.25), (0.5, 0.0)):
        other = Latents(latents.values, LatentLayout(latents.layout.positions, 4, scale, shift))
        with pytest.raises(
            UserError, match=f'{name}: expected latents of 4 channels with scale 0.5 and shift 0.25, got'
        ):
            autoencoder.decode(other)
    with pytest.raises(UserError, match=f'{name} has no classes, so fold.. takes no label, got 3'):
        autoencoder.fold(3)
    with pytest.raises(UserError, match=f'{name} takes no labels'):
        autoencoder(images(), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match='got list'):
        autoencoder.encode([1])
    with pytest.raises(UserError, match=f'VQGANEncoder: image sides must be multiples of .*, got {SIDE}x31'):
        autoencoder.encode(images()[..., 1:])


def test_1d_tokenizers_name_sizes_and_latents_that_do_not_fit(sequences: Path):
    tokenizer = Tokenizer.from_pretrained(sequences / 'tokenizer')
    with pytest.raises(UserError, match=f'images are {SIDE}x{SIDE}, got 64x64'):
        tokenizer.encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UserError, match=rf'expected a float latent \(B, {DIM}, L\), got'):
        tokenizer.decode_latent(torch.zeros(1, DIM, 2, 2))
    for positions in (Grid(1, TOKENS), Sequence(TOKENS + 1)):
        with pytest.raises(UserError, match=r'SequenceEncoderStandIn gives Sequence\(length=5\), not'):
            tokenizer.check_layout(CodeLayout(positions, (16, 16)))
    with pytest.raises(UserError, match=r'Tokenizer has codes of .* of 16 x 16 codes, not of .* of 16 x 8 codes'):
        tokenizer.check_layout(CodeLayout(Sequence(TOKENS), (16, 8)))
    with pytest.raises(UserError, match=r'Tokenizer has latents of LatentLayout.*, not of'):
        tokenizer.check_layout(LatentLayout(Sequence(TOKENS), 4))
    with pytest.raises(UserError, match='gives a sequence; use quant_kernel=0'):
        TOKENIZERS.build({**SEQUENCE, 'quant_kernel': 1})
    tokenizer.encoder.kind = Grid  # as of an encoder of sequences that does not set it
    with pytest.raises(UserError, match=r'positions\(\) returned a Sequence; set `kind = Sequence`'):
        tokenizer.encode(images())


def test_a_continuous_autoencoder_trains_with_metrics_of_pixels_and_a_report(continuous: Path):
    metrics = json.loads((continuous / 'metrics.json').read_text())['metrics']
    assert metrics.keys() == {'psnr', 'ssim'}
    rows = [json.loads(line) for line in (continuous / 'history.jsonl').read_text().splitlines()]
    train = [row for row in rows if row['split'] == 'train']
    assert all('loss/kl' in row and 'usage_window' not in row for row in train)
    assert (continuous / 'reconstructions.png').is_file()
    assert not (continuous / 'codebook.png').exists()


@torch.no_grad()
def test_a_continuous_autoencoder_is_saved_with_a_card_and_loaded(continuous: Path):
    autoencoder = Autoencoder.from_pretrained(continuous / 'tokenizer')
    batch = images()
    latents = autoencoder.encode(batch)
    assert isinstance(latents, Latents)
    assert latents.layout == autoencoder.layout(SIDE, SIDE) == LatentLayout(Grid(16, 16), 4, 0.5, 0.25)
    assert torch.equal(autoencoder.decode(latents), autoencoder(batch).reconstruction)
    card = (continuous / 'tokenizer/README.md').read_text()
    assert 'continuous latents' in card
    assert 'latents = autoencoder.encode(' in card
    assert 'codes' not in card.split('## Metrics')[0].replace('discrete-codes', '')
    with pytest.raises(UserError, match='holds a KLAutoencoder, not a Tokenizer'):
        Tokenizer.from_pretrained(continuous / 'tokenizer')
    with pytest.raises(UserError, match='expected Latents, got Tensor'):
        autoencoder.decode(latents.values)


def test_metrics_of_codes_are_refused_before_a_continuous_autoencoder_trains(tmp_path: Path):
    with pytest.raises(UserError, match=r'CodebookUsage.* need codes, KLAutoencoder has continuous latents'):
        run(CONTINUOUS, tmp_path / 'run', [*OF_PIXELS, dict(type='CodebookUsage')])
    assert not (tmp_path / 'run').exists()
    with pytest.raises(UserError, match='FoldHook: needs the codes of a tokenizer'):
        TOKENIZERS.build(CONTINUOUS).require_quantizer('FoldHook')


def test_what_draws_codes_refuses_a_continuous_autoencoder(continuous: Path):
    with pytest.raises(UserError, match='a map of codes: needs the codes of a tokenizer, KLAutoencoder has none'):
        latents_and_counts(Autoencoder.from_pretrained(continuous / 'tokenizer'), iter([images()]))


def test_the_benchmark_takes_a_continuous_autoencoder_as_a_row_without_codes():
    vq, kl = read_rows([CONFIG, CONFIG.replace('mini/vq', 'baselines/kl_photos')], {})
    assert (vq.refusal, kl.refusal) == ('', '')
    assert vq.codebook_size > 0
    assert vq.bits_per_image > 0
    assert (kl.codebook_size, kl.codes_per_image, kl.bits_per_image) == (0, 0, 0)


def test_reconstructions_of_files_come_with_the_latents(continuous: Path, tmp_path: Path):
    save(picture(SIDE, SIDE), tmp_path / 'a.png')
    scores = reconstruct_files(str(continuous / 'tokenizer'), [str(tmp_path / 'a.png')], str(tmp_path / 'out'))
    (score,) = scores.values()
    assert score['latents'] == 4 * (SIDE // 2) ** 2
    with np.load(tmp_path / 'out/latents.npz') as latents:
        assert latents['a'].shape == (4, SIDE // 2, SIDE // 2)
    assert not (tmp_path / 'out/codes.npz').exists()


def test_presets_leave_out_metrics_of_codes_by_name(continuous: Path):
    evaluator = PresetEvaluator([find_preset('strict')], extractor=False, image_size=SIDE)
    values = evaluator.evaluate(Autoencoder.from_pretrained(continuous / 'tokenizer'), PhotoParts(), batch_size=4)
    assert 'strict/psnr' in values
    assert not any(key.startswith('strict/usage') for key in values)
    assert any('it needs codes, KLAutoencoder has' in line for line in evaluator.left_out)


@torch.no_grad()
def test_latents_of_a_continuous_autoencoder_go_into_a_store(continuous: Path, tmp_path: Path):
    store = extract(continuous / 'tokenizer', tmp_path / 'store')
    assert store.layout == LatentLayout(Grid(16, 16), 4, 0.5, 0.25)
    assert store.manifest.dtype == np.dtype(np.float32)
    latents = store.latents(3, 0)
    assert latents.shape == (4, 16, 16)
    again = CodesStore(tmp_path / 'store')
    assert torch.equal(again.latents(3, 0), latents)
    again.verify()
    with pytest.raises(UserError, match='holds latents, not codes'):
        again.codes(3, 0)


@DECODERS.register_module()
class ModulatedDecoderStandIn(VQGANDecoder):
    """Scales its result by the mean of the quantized latent, as a MoVQ decoder's norms are modulated by it."""

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        assert z_q_BDHW is not None
        return super().forward(features_BEHW) * (1 + z_q_BDHW.mean((1, 2, 3), keepdim=True))


@torch.no_grad()
def test_a_decoder_is_given_the_quantized_latent_before_the_convolution_behind_the_quantizer():
    config = tokenizer_config(dict(type='VectorQuantizer', codebook_size=16, code_dim=8))
    tokenizer = TOKENIZERS.build({**config, 'decoder': dict(type='ModulatedDecoderStandIn', **HALF)}).eval()
    z_q_BDHW = torch.randn(2, 8, 4, 4)
    plain = VQGANDecoder.forward(tokenizer.decoder, tokenizer.post_quant(z_q_BDHW))
    expected = plain * (1 + z_q_BDHW.mean((1, 2, 3), keepdim=True))
    assert torch.equal(tokenizer.decode_latent(z_q_BDHW), expected)
    assert not torch.equal(expected, plain)
    batch = images()
    assert torch.equal(tokenizer.decode(tokenizer.encode(batch)), tokenizer(batch).reconstruction)
