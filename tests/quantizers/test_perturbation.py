"""Perturbed codes: RobustTok's rule, nothing of the image's surroundings, training that resumes exactly, pFID's stamp."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.ops.latent_perturbation import LatentPerturbation, euclidean_logits, near_codes
from fvq_core.registry import HOOKS, QUANTIZERS
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.runner import Runner
from fvq_quantizers.perturbation_hook import LatentPerturbationHook
from tests.tiny import random_images, tiny_tokenizer

PLAIN = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
KINDS = {
    'vq': PLAIN,
    'l2-normalized': PLAIN | dict(normalize=dict(type='L2Normalize')),
    'bridge': PLAIN | dict(projector=dict(type='VQBridge', patch_size=4, output_scale=1.0)),
    'fsq': dict(type='FSQ', levels=(4, 4)),
    'lfq': dict(type='LFQ', codebook_size=16, code_dim=4),
}


def latents(quantizer: Any) -> Tensor:
    return torch.randn(3, quantizer.code_dim, 4, 5, requires_grad=True)


def spread(kind: str) -> Any:
    quantizer = QUANTIZERS.build(KINDS[kind])
    for name, parameter in quantizer.named_parameters():
        if name.endswith('embedding'):
            torch.nn.init.normal_(parameter)
    return quantizer


def test_near_codes_are_those_of_a_full_sort_in_float64() -> None:
    z_ND, codebook_KD = torch.randn(50, 6) + 100, torch.randn(40, 6) + 100
    order_NK = torch.cdist(z_ND.double(), codebook_KD.double()).argsort(1)
    for nearest in (1, 7, 40):
        rank_N = torch.randint(nearest, (50,))
        expected_N = order_NK.gather(1, rank_N[:, None])[:, 0]
        assert torch.equal(near_codes(z_ND, codebook_KD, rank_N, nearest, euclidean_logits), expected_N)


@pytest.mark.parametrize('kind', KINDS)
def test_every_code_is_replaced_by_one_of_the_nearest_to_its_latent(kind: str) -> None:
    quantizer = spread(kind).train()
    out = quantizer(latents(quantizer))
    changed = LatentPerturbation(1.0, 3).latent(quantizer, out)
    codebook_KD = quantizer.codebook().detach()
    z_ND, new_ND = (x.detach().movedim(1, -1).flatten(0, 2) for x in (out.z_BDHW, changed))
    chosen_N = torch.cdist(new_ND, codebook_KD).argmin(1)
    torch.testing.assert_close(new_ND, codebook_KD[chosen_N])
    order_NK = torch.cdist(z_ND.double(), codebook_KD.double()).argsort(1)
    rank_N = (order_NK == chosen_N[:, None]).double().argmax(1)
    if kind in ('fsq', 'lfq'):  # lattices have ties, so distances say it
        distances_NK = torch.cdist(z_ND, codebook_KD).sort(1).values
        assert (torch.cdist(z_ND, codebook_KD).gather(1, chosen_N[:, None])[:, 0] <= distances_NK[:, 2] + 1e-5).all()
    else:
        assert set(rank_N.tolist()) == {0, 1, 2}


@pytest.mark.parametrize('kind', KINDS)
def test_replaced_codes_pass_on_the_gradient_of_the_chosen_ones(kind: str) -> None:
    quantizer = spread(kind).train()
    z_BDHW = latents(quantizer)
    weight = torch.randn(3, quantizer.code_dim, 4, 5)
    out = quantizer(z_BDHW)
    (plain,) = torch.autograd.grad((out.z_q_BDHW * weight).sum(), z_BDHW, retain_graph=True)
    (perturbed,) = torch.autograd.grad((LatentPerturbation(1.0, 5).latent(quantizer, out) * weight).sum(), z_BDHW)
    assert torch.equal(plain, perturbed)


def test_codes_far_from_zero_are_told_apart() -> None:
    quantizer = QUANTIZERS.build(PLAIN).eval()
    torch.nn.init.normal_(quantizer.embedding, mean=3000.0)
    out = quantizer(latents(quantizer) + 3000)
    assert torch.equal(LatentPerturbation(1.0, 1).latent(quantizer, out), out.z_q_BDHW)


@pytest.mark.parametrize('distance', ['DotProduct', 'CosineSearch'])
def test_the_only_nearest_code_is_the_chosen_one_whatever_nearest_means(distance: str) -> None:
    cosine = dict(normalize=dict(type=distance)) if distance == 'CosineSearch' else dict(distance=dict(type=distance))
    quantizer = QUANTIZERS.build(PLAIN | cosine).eval()
    torch.nn.init.normal_(quantizer.embedding)
    out = quantizer(latents(quantizer))
    codes_ND, z_ND = quantizer.codebook(), out.z_BDHW.movedim(1, -1).flatten(0, 2)
    assert (torch.cdist(z_ND, codes_ND).argmin(1) != out.codes.indices_BL.flatten()).any(), 'else this shows nothing'
    assert torch.equal(LatentPerturbation(1.0, 1).latent(quantizer, out), out.z_q_BDHW)


def test_the_rate_is_the_share_of_positions() -> None:
    quantizer = spread('vq').eval()
    out = quantizer(torch.randn(8, 8, 32, 32))
    assert torch.equal(LatentPerturbation(0.0, 16).latent(quantizer, out), out.z_q_BDHW)
    changed = LatentPerturbation(0.3, 16).latent(quantizer, out)
    share = (changed != out.z_q_BDHW).any(1).float().mean().item()
    assert abs(share - 0.3 * 15 / 16) < 0.02  # one of sixteen draws is the code itself; 3 sigma are 0.015


def test_in_evaluation_an_images_draw_depends_on_nothing_but_its_codes() -> None:
    tokenizer, images = tiny_tokenizer(), random_images(3)
    plain = tokenizer(images)
    with LatentPerturbation(0.8, 8).applied(tokenizer.quantizer, seed=1):
        together = tokenizer(images)
        alone = [tokenizer(image) for image in images.split(1)]
    assert torch.equal(together.codes.indices_BL, plain.codes.indices_BL)
    assert not torch.equal(together.quantized.z_q_BDHW, plain.quantized.z_q_BDHW)
    assert torch.equal(together.quantized.z_q_BDHW, torch.cat([one.quantized.z_q_BDHW for one in alone]))
    with LatentPerturbation(0.8, 8).applied(tokenizer.quantizer, seed=2):
        assert not torch.equal(tokenizer(images).quantized.z_q_BDHW, together.quantized.z_q_BDHW)
    assert torch.equal(tokenizer(images).reconstruction, plain.reconstruction)  # and it is gone afterwards


def test_the_hook_perturbs_the_first_images_and_nothing_else() -> None:
    quantizer = spread('vq').train()
    out = quantizer(torch.randn(10, 8, 4, 4))
    hook = LatentPerturbationHook(images=0.39, nearest=16)
    changed = hook.perturb(quantizer, None, out)
    same_B = (changed.z_q_BDHW == out.z_q_BDHW).flatten(1).all(1)
    assert same_B.tolist() == [False] * 3 + [True] * 7
    assert changed.losses is out.losses
    assert changed.codes is out.codes
    assert hook.perturb(quantizer.eval(), None, out) is None
    assert LatentPerturbationHook(images=0.05, nearest=16).perturb(quantizer.train(), None, out) is None


def test_rate_and_codes_fall_as_robusttoks() -> None:
    hook = LatentPerturbationHook()
    shares = [hook.share(epoch / 200) for epoch in (0, 40, 80, 120, 121, 199)]
    assert shares == pytest.approx([1, 1, 1 - 40 / 80 * 0.5, 0.5, 0.5, 0.5])
    assert LatentPerturbationHook(anneal=None).share(0.9) == 1
    assert [LatentPerturbationHook(anneal=(0.5, 0.5)).share(x) for x in (0.5, 0.6)] == [1, 0.5]


def run(folder: Path, **changes: Any) -> Config:
    cfg = load_config(
        str(Path(__file__).parents[2] / 'configs/mini/vq.py'),
        {
            'train_dataloader.batch_size': 4,
            'val_dataloader.dataset.crops': 2,
            'train_cfg.max_iters': 4,
            'default_hooks.checkpoint.interval': 2,
            'default_hooks.checkpoint.max_keep': 0,
            'default_hooks.report': None,
            'model.tokenizer.quantizer.codebook_size': 16,
        },
        work_dir=str(folder),
    )
    cfg.default_hooks.perturbation = dict(type='LatentPerturbationHook', images=0.5, nearest=8)
    cfg.merge_from_dict(changes)
    return cfg


def test_a_perturbed_run_is_another_and_resumes_exactly(tmp_path: Path) -> None:
    for name, changes in (('straight', {}), ('none', {'default_hooks.perturbation.images': 0.0})):
        Runner.from_cfg(run(tmp_path / name, **changes)).train()
    (tmp_path / 'resumed').mkdir()
    shutil.copy(tmp_path / 'straight/iter_2.pth', tmp_path / 'resumed')
    Runner.from_cfg(run(tmp_path / 'resumed', resume=True)).train()
    straight, none, resumed = (
        read_checkpoint(tmp_path / name / 'iter_4.pth')['state_dict'] for name in ('straight', 'none', 'resumed')
    )
    assert identical(straight, resumed)
    assert not identical(straight, none)


def test_a_share_of_less_than_one_image_is_said() -> None:
    for images, said in ((0.2, True), (0.25, False), (0.0, False)):
        hook, messages = LatentPerturbationHook(images=images, nearest=8), []
        runner: Any = SimpleNamespace(
            task=SimpleNamespace(tokenizer=tiny_tokenizer()),
            train_dataloader=SimpleNamespace(batch_size=4),
            logger=SimpleNamespace(warning=messages.append),
        )
        hook.before_train(runner)
        hook.after_train(runner)
        assert bool(messages) == said
        assert not said or 'images=0.25 is one' in messages[0]


@pytest.mark.parametrize(
    ('quantizer', 'said'),
    [
        (dict(type='ResidualQuantizer', quantizer=PLAIN, depth=2), 'one code a position'),
        (PLAIN | dict(codebook_size=7), 'at most the 7 codes'),
        (dict(type='MultiScaleQuantizer', quantizer=PLAIN, scales=(1, 2)), 'one code for each latent'),
    ],
)
def test_codes_that_cannot_be_replaced_one_by_one(quantizer: dict[str, Any], said: str) -> None:
    perturbation, built = LatentPerturbation(0.5, 8), QUANTIZERS.build(quantizer).eval()
    with pytest.raises(UserError, match=said), perturbation.applied(built):
        built(torch.randn(1, 8, 2, 2))


@pytest.mark.parametrize(
    'bad', [dict(rate=1.1), dict(nearest=0), dict(images=-0.1), dict(end=2), dict(anneal=(0.6, 0.2))]
)
def test_values_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match='expected'):
        HOOKS.build(dict(type='LatentPerturbationHook', **bad))


def test_a_preset_says_what_was_done_to_the_codes() -> None:
    from fvq_eval.presets import find_preset

    strict = find_preset('strict')
    changed = strict.perturbed(str(LatentPerturbation(0.5, 100)))
    assert changed.name == 'strict-perturbed'
    assert replace(changed, name='strict', perturbation=None) == strict
    assert changed.protocol().startswith('codes replaced at a rate of 0.5 by one of the 100 nearest; ADMCenterCrop')


def test_words_that_are_no_rate_and_number_are_refused_in_one_line() -> None:
    from fvq_eval.commands.test import numbers

    assert numbers(['0.5', '100']) == (0.5, 100)
    with pytest.raises(UserError, match='got half 100'):
        numbers(['half', '100'])
