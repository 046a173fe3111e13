"""Starting from a tokenizer that differs: more or fewer codes, another decoder, a projector that is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.errors import UserError
from fvq_core.registry import MODELS, QUANTIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.start_weights import find_start_weights
from fvq_core.training.tasks import TokenizerTask
from fvq_quantizers.resized_codebook import resized_codebook

from ..tiny import FVQ, HALF, random_images, tiny_tokenizer, tokenizer_config

PLAIN = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
EMA = dict(update=dict(type='EMAUpdate'), loss=dict(type='VQLoss', codebook_weight=0.0))
IMAGES = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)


def task_of(quantizer: Any = PLAIN, freeze: Any = (), **halves: Any) -> TokenizerTask:
    tokenizer = tokenizer_config(quantizer) | halves
    config = dict(tokenizer=tokenizer, reconstruction_loss=dict(type='L2Loss'), freeze=freeze)
    return MODELS.build(dict(type='TokenizerTask', **config))


def begin(task: TokenizerTask, source: Any, fresh: Any = ()) -> str:
    """Start a task as a run does; returns the line of the log."""
    found = find_start_weights(task, source, fresh=fresh)
    found.load(task)
    task.initialize_from_data(iter([{'images': IMAGES}] * 9))
    return found.summary


@pytest.fixture(scope='module')
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tokenizer]:
    tokenizer = tiny_tokenizer(PLAIN)
    return tokenizer.save_pretrained(tmp_path_factory.mktemp('saved') / 'tokenizer'), tokenizer


@pytest.mark.parametrize('axes', [{}, EMA, dict(init=dict(type='KMeansInit'))], ids=['gradient', 'ema', 'kmeans'])
def test_old_codes_of_a_grown_codebook_decode_to_the_same_pixels(axes: Any, saved: Any):
    folder, tokenizer = saved
    task = task_of({**PLAIN, **axes, 'codebook_size': 40})
    said = begin(task, folder)
    assert said.endswith('codebook: 16 codes there, 40 here: they come first, the others start from latents')
    tuned = task.tokenizer.eval()
    images = random_images(4)
    codes = tokenizer.encode(images)
    indices = type(codes)(codes.indices_BL, tuned.layout(*images.shape[2:]))
    assert torch.equal(tuned.decode(indices), tokenizer.decode(codes))
    new_KD = tuned.quantizer.codebook()[16:]
    latents = task.tokenizer.encode_latent(task.images({'images': IMAGES})).movedim(1, -1).reshape(-1, 8)
    assert torch.cdist(new_KD, latents).amin(1).max() < 1e-3
    assert not tuned.quantizer.needs_init
    if axes is EMA:
        assert torch.equal(tuned.quantizer.update.sums_KD, tuned.quantizer.embedding)


def test_new_codes_begin_where_the_old_ones_fail():
    """Of two clusters with a code on one of them, the new code falls on the other, however small that is."""
    quantizer = QUANTIZERS.build(dict(PLAIN, codebook_size=2))
    served_ND, missed_ND = torch.zeros(1000, 8), torch.full((3, 8), 5.0)
    codes_KD = resized_codebook(quantizer, served_ND[:1], torch.cat([served_ND, missed_ND]))
    assert torch.equal(codes_KD, torch.cat([served_ND[:1], missed_ND[:1]]))
    few_KD = resized_codebook(QUANTIZERS.build(dict(PLAIN, codebook_size=9)), served_ND[:1], missed_ND)
    assert torch.equal(few_KD[1:], missed_ND[:1].expand(8, -1))


def test_a_smaller_codebook_keeps_the_codes_that_are_used_most_in_their_order(saved: Any):
    folder, tokenizer = saved
    task = task_of(dict(PLAIN, codebook_size=5))
    assert begin(task, folder).endswith('16 codes there, 5 here: those that latents use most are kept')
    counts = torch.bincount(tokenizer.encode(task.images({'images': IMAGES})).indices_BL.flatten(), minlength=16)
    kept = sorted(sorted(range(16), key=lambda k: (-counts[k], k))[:5])
    assert torch.equal(task.tokenizer.quantizer.embedding, tokenizer.quantizer.embedding[kept])


def test_a_larger_group_of_a_product_quantizer_starts_from_its_own_latents(tmp_path: Path):
    def product(size: int) -> dict[str, Any]:
        return dict(type='ProductQuantizer', quantizer=dict(PLAIN, code_dim=4, codebook_size=size), groups=2)

    tokenizer = tiny_tokenizer(product(16))
    tokenizer.save_pretrained(tmp_path / 'saved')
    task = task_of(product(20))
    begin(task, tmp_path / 'saved')
    for one, other in zip(task.tokenizer.quantizer.quantizers, tokenizer.quantizer.quantizers, strict=True):
        assert torch.equal(one.embedding[:16], other.embedding)
        assert one.embedding[16:].any()


def test_codes_that_a_projector_maps_together_are_not_resized(tmp_path: Path):
    tiny_tokenizer(FVQ).save_pretrained(tmp_path / 'saved')
    with pytest.raises(UserError, match=r'has 16 codes and this config 32, which its VQBridge maps together'):
        begin(task_of(dict(FVQ, codebook_size=32)), tmp_path / 'saved')
    assert '16 codes there, 32 here' in begin(task_of(dict(PLAIN, codebook_size=32)), tmp_path / 'saved')


def test_codes_of_residuals_are_not_resized_either(tmp_path: Path):
    def residual(size: int) -> dict[str, Any]:
        return dict(type='ResidualQuantizer', quantizer=dict(PLAIN, codebook_size=size), depth=2)

    tiny_tokenizer(residual(16)).save_pretrained(tmp_path / 'saved')
    with pytest.raises(UserError, match=r'1 of another shape \(quantizer.quantizers.0.embedding .*; --fresh quantizer'):
        begin(task_of(residual(32)), tmp_path / 'saved')


def test_a_decoder_of_another_class_starts_afresh_and_one_of_another_size_if_it_is_meant(saved: Any):
    folder, tokenizer = saved
    small = dict(HALF, norm_groups=1)
    task = task_of(
        decoder=dict(type='MaskGITDecoder', ch=8, ch_mult=(1, 2), num_res_blocks=1, z_channels=8, norm_groups=4)
    )
    said = begin(task, folder)
    assert said == f'started from {folder}: tokenizer; starts afresh: decoder'
    wide = dict(type='VQGANDecoder', **{**small, 'ch': 16})
    with pytest.raises(UserError, match=r'of another shape \(decoder.*; --fresh decoder trains these from scratch'):
        begin(task_of(decoder=wide), folder)
    task = task_of(decoder=wide, freeze=['encoder', 'quantizer'])
    begin(task, folder, ['decoder'])
    images = random_images()
    assert torch.equal(task.tokenizer.eval().encode(images).indices_BL, tokenizer.encode(images).indices_BL)
    assert task.tokenizer.decoder.conv_in.weight.shape != tokenizer.decoder.conv_in.weight.shape


def test_decoder_only_training_keeps_every_code(saved: Any):
    folder, tokenizer = saved
    task = task_of(freeze=['encoder', 'quantizer'])
    begin(task, folder)
    task.train()
    config = dict(type='ClippedOptimWrapper', optimizer=dict(type='AdamW', lr=1e-2))
    optimizers = build_optim_wrappers(config, task.parts())
    losses = [task.train_step([{'images': IMAGES}], optimizers, step)['losses']['total'] for step in range(5)]
    assert losses[-1] < losses[0]
    images = random_images(4)
    assert torch.equal(task.tokenizer.eval().encode(images).indices_BL, tokenizer.encode(images).indices_BL)


@pytest.mark.parametrize(
    ('freeze', 'fresh', 'message'),
    [
        (
            ['decoder'],
            ['decoder'],
            r'model\.freeze: decoder would stay at its initial values, which .* does not replace',
        ),
        (['encoder'], ['pre_quant'], r'model\.freeze: encoder would stay at its initial values'),
        (
            [],
            ['decodr'],
            r"load_fresh: Tokenizer has no part 'decodr'; it has encoder, quantizer, decoder, pre_quant, post",
        ),
    ],
)
def test_parts_that_cannot_start_afresh_are_refused(freeze: Any, fresh: Any, message: str, saved: Any):
    with pytest.raises(UserError, match=message):
        begin(task_of(freeze=freeze), saved[0], fresh)


def test_a_frozen_quantizer_grows_before_it_is_frozen(saved: Any):
    folder, tokenizer = saved
    task = task_of(dict(PLAIN, codebook_size=20), freeze=['quantizer'])
    begin(task, folder)
    assert torch.equal(task.tokenizer.quantizer.embedding[:16], tokenizer.quantizer.embedding)
    assert task.tokenizer.quantizer.embedding[16:].any()
    assert not task.tokenizer.quantizer.embedding.requires_grad


def test_a_checkpoint_with_a_projector_names_what_is_folded(tmp_path: Path):
    torch.save({'state_dict': task_of(FVQ).state_dict()}, tmp_path / 'iter_1.pth')
    with pytest.raises(UserError, match=r'iter_1\.pth has a projector, this config has none; start from the folder of'):
        begin(task_of(), tmp_path / 'iter_1.pth')
