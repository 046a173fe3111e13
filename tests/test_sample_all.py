"""`make sample-all`: every generator on the photos with its own tokenizer, judged by a classifier that knows real crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import sample_all
from fvq_core.config.read import read_config_file
from fvq_core.zoo import full_name

CONFIGS = Path(__file__).parents[1] / 'configs/generation'


def test_every_generator_on_the_photos_is_there_with_its_own_tokenizer() -> None:
    found = sample_all.pairs([])
    expected = {path.stem for path in CONFIGS.glob('*_photos.py') if 'generator' in read_config_file(str(path)).model}
    assert {pair.generator for pair in found} == expected
    for pair in found:
        tokenizer = read_config_file(f'configs/{full_name(pair.tokenizer)}.py').model
        assert 'tokenizer' in tokenizer, pair
        assert 'generator' not in tokenizer, pair


def test_unknown_names_are_told() -> None:
    with pytest.raises(SystemExit, match='is called codes_photos, of_nothing'):
        sample_all.pairs(['var_photos', 'of_nothing', 'codes_photos'])


def test_the_classifier_tells_unseen_images_of_a_kind_from_others() -> None:
    rng = torch.Generator().manual_seed(0)
    kinds_KCHW = (
        torch.randint(0, 256, (10, 3, 8, 8), generator=rng).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    labels_N = torch.arange(80) % 10

    def drawn() -> torch.Tensor:
        noise = 20 * torch.randn(80, 3, 64, 64, generator=rng)
        return (kinds_KCHW[labels_N] + noise).clamp(0, 255).to(torch.uint8)

    classifier = sample_all.LinearClassifier(drawn(), labels_N)
    unseen = drawn()
    assert classifier.accuracy(unseen, labels_N) == 1.0
    assert classifier.accuracy(unseen, (labels_N + 1) % 10) == 0.0
    assert classifier.accuracy(unseen, labels_N.roll(40).flip(0)) < sample_all.LEAST


def test_the_picture_has_a_row_for_each_generator_and_a_column_for_each_class() -> None:
    labels = np.array([3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 3])
    rows = []
    for brightness in (0, 100):
        images = np.zeros((11, 64, 64, 3), np.uint8)
        images[:] = (brightness + 10 * labels)[:, None, None, None]
        images[-1] = 255  # a class's second sample is not shown
        rows.append((f'at {brightness}', images, labels))
    pixels = np.asarray(sample_all.picture(rows))
    side, left = 128 + 4, pixels.shape[1] - (10 * (128 + 4) - 4)
    for row, brightness in enumerate((0, 100)):
        for column in range(10):
            cell = pixels[row * side : row * side + 128, left + column * side : left + column * side + 128]
            assert (cell == brightness + 10 * column).all()
