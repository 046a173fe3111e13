"""More codes for a trained tokenizer: dead ones change nothing, split ones only which copy of its code a latent gets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.extra_codes import save, with_more_codes
from fvq_core.errors import UserError
from tests.tiny import FVQ, random_images, tiny_tokenizer


@torch.no_grad()
@pytest.mark.parametrize('copies', [2, 16])
def test_each_latent_keeps_its_trained_code(copies: int) -> None:
    torch.manual_seed(0)
    trained, images = tiny_tokenizer(FVQ).fold(), random_images(2)
    K, D = trained.quantizer.codebook().shape
    trained.quantizer.embedding.normal_()
    z_BDHW = 1.5 * torch.randn(4, D, 16, 16)  # chooses all codes
    before = trained.quantizer(z_BDHW).codes.indices_BL
    dead, split = (with_more_codes(trained, kind, copies) for kind in ('dead', 'split'))
    assert dead.quantizer.codebook_size == dead.quantizer.codebook().shape[0] == copies * K
    assert torch.equal(dead.quantizer(z_BDHW).codes.indices_BL, before)
    assert torch.equal(dead(images).reconstruction, trained(images).reconstruction)
    indices_BL = split.quantizer(z_BDHW).codes.indices_BL
    assert (indices_BL % K == before).float().mean() > 0.99  # but for latents between two codes
    assert indices_BL.unique().numel() > 1.5 * before.unique().numel()
    codes_KD = trained.quantizer.codebook()
    moved_CK = (split.quantizer.codebook().view(copies, K, D) - codes_KD).norm(dim=2)
    assert (moved_CK <= 0.011 * torch.cdist(codes_KD, codes_KD).fill_diagonal_(torch.inf).min(1).values).all()


def test_codes_on_a_sphere_are_refused() -> None:
    sphere = tiny_tokenizer({**FVQ, 'normalize': dict(type='L2Normalize')}).fold()
    with pytest.raises(UserError, match='without normalization'):
        with_more_codes(sphere, 'dead', 2)


def test_what_was_measured_of_another_tokenizer_is_not_kept(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(FVQ).fold()
    save(tokenizer, tmp_path)
    (tmp_path / 'generator.json').write_text('{}')
    save(tokenizer, tmp_path)
    assert (tmp_path / 'generator.json').exists()
    save(with_more_codes(tokenizer, 'dead', 2), tmp_path)
    assert not (tmp_path / 'generator.json').exists()
