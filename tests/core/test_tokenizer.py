"""What a tokenizer takes, and how it refuses everything else: in one line with the remedy."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.images import from_uint8
from fvq_core.tokenizer import Tokenizer

from ..tiny import FVQ, random_images, tiny_tokenizer

PIXELS = torch.randint(0, 256, (2, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
REFUSED: dict[str, tuple[Any, str]] = {
    'uint8 pixels': (PIXELS, r'got torch.uint8 \(2, 3, 8, 12\); pixels from 0 to 255 .*from_uint8\(images\)'),
    'int64 pixels': (PIXELS.long(), r'from_uint8\(images.to\(torch.uint8\)\)'),
    'bool': (PIXELS > 99, 'got torch.bool'),
    'complex': (PIXELS.to(torch.complex64), 'got torch.complex64'),
    'float pixels to 255': (PIXELS.float(), r'got values from 0 to 255; .*x / 127.5 - 1'),
    'dark float pixels': (PIXELS.float() % 9, r'got values from 0 to 8'),
    'centred pixels': (PIXELS.float() - 128, 'got values from -128 to 127'),
    'a sparse tensor': (from_uint8(PIXELS).to_sparse(), 'got a sparse or nested tensor'),
    'an array': (PIXELS.numpy(), 'got ndarray; an image of PIL or NumPy'),
    'an image of PIL': (Image.new('RGB', (12, 8)), 'got Image; .*from_uint8'),
    'a list': ([[0.0]], 'got list'),
    'a single image': (from_uint8(PIXELS)[0], r'got torch.float32 \(3, 8, 12\); a single image is images\[None\]'),
    'a video': (from_uint8(PIXELS)[None], 'stack images into a batch'),
    'channels last': (from_uint8(PIXELS).permute(0, 2, 3, 1), r'use images.permute\(0, 3, 1, 2\)'),
    'a grey image': (from_uint8(PIXELS)[:, :1], 'convert them to 3 channels'),
    'with alpha': (from_uint8(PIXELS)[:, [0, 1, 2, 2]], 'convert them to 3 channels'),
    'another device': (
        from_uint8(PIXELS).to('meta'),
        r"the images are on meta, the weights on cpu; use images.to\('cpu'\)",
    ),
    'sides of no code': (from_uint8(PIXELS)[..., :7], 'image sides must be multiples of 2, got 8x7'),
    'no image': (from_uint8(PIXELS)[:0], 'expected at least one image'),
}


@pytest.fixture(scope='module')
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


@torch.no_grad()
@pytest.mark.parametrize('what', REFUSED)
def test_other_things_than_images_are_refused_with_a_remedy(tokenizer: Tokenizer, what: str):
    given, message = REFUSED[what]
    for call in (tokenizer.encode, tokenizer):
        with pytest.raises(UserError, match=message) as refusal:
            call(given)
        assert '\n' not in str(refusal.value)


@torch.no_grad()
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_images_that_are_not_finite_are_refused_by_number(tokenizer: Tokenizer, value: float):
    images = random_images(3)
    images[2, 0, 1, 1] = value
    with pytest.raises(NonFiniteError, match='image 2 of 3 holds NaN or infinite pixels'):
        tokenizer.encode(images)


@torch.no_grad()
def test_images_in_zero_to_one_get_a_warning_and_bright_levels_of_bytes_do_not(tokenizer: Tokenizer):
    from_pillow = PIXELS.float() / 255
    for unit in (from_pillow, random_images().abs()):
        with pytest.warns(UserWarning, match=r'are they in \[0, 1\]\? Then use 2 \* images - 1'):
            tokenizer.encode(unit)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tokenizer.encode(from_uint8(128 + PIXELS // 2))
        for plain in (torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), 1.3 * random_images()):
            tokenizer.encode(plain)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_every_floating_type_are_encoded(tokenizer: Tokenizer, dtype: torch.dtype):
    images = from_uint8(PIXELS).to(dtype)
    assert torch.equal(tokenizer.encode(images).indices_BL, tokenizer.encode(images.float()).indices_BL)


@torch.no_grad()
@pytest.mark.parametrize(
    'dtype', [torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64]
)
def test_codes_of_every_integer_type_are_decoded(tokenizer: Tokenizer, dtype: torch.dtype):
    codes = tokenizer.encode(from_uint8(PIXELS))
    narrow = Codes(codes.indices_BL.to(dtype), codes.layout)
    assert narrow.indices_BL.dtype == torch.int64
    assert torch.equal(tokenizer.decode(narrow), tokenizer.decode(codes))


@torch.no_grad()
def test_other_things_than_codes_are_refused_with_a_remedy(tokenizer: Tokenizer):
    codes = tokenizer.encode(from_uint8(PIXELS))
    indices, layout = codes.indices_BL, codes.layout
    wrong: list[tuple[Any, str]] = [
        (
            lambda: tokenizer.decode(indices),
            r'expected Codes, got a tensor \(2, 24\); indices become codes with their layout',
        ),
        (lambda: tokenizer.decode(indices.numpy()), 'expected Codes, got ndarray'),
        (lambda: tokenizer.decode(Codes(indices[0], layout)), r'expected codes of shape \(B, 24\), got \(24,\)'),
        (lambda: tokenizer.decode(Codes(indices + 16, layout)), r'must lie in \[0, 16\)'),
        (lambda: tokenizer.decode(Codes(indices - 99, layout)), r'must lie in \[0, 16\)'),
        (lambda: Codes(indices.float(), layout), r'codes are integers, got torch.float32; .*\.long\(\)'),
        (lambda: Codes(indices > 3, layout), 'codes are integers, got torch.bool'),
        (lambda: Codes(indices.numpy(), layout), 'integer tensor .*, got ndarray; use torch.as_tensor'),
        (lambda: Codes(indices, (4, 6)), 'expected a CodeLayout such as .*, got tuple'),
        (
            lambda: tokenizer.decode_latent(indices),
            r'expected a float latent \(B, 8, H, W\), got torch.int64 \(2, 24\)',
        ),
        (lambda: tokenizer.decode_latent(codes), r'got Codes; codes are decoded by decode\(\)'),
        (lambda: tokenizer.decode_latent(torch.zeros(1, 5, 4, 4)), r'got torch.float32 \(1, 5, 4, 4\)'),
    ]
    for call, message in wrong:
        with pytest.raises(UserError, match=message):
            call()


def test_latents_beyond_the_range_of_the_weights_are_refused(tokenizer: Tokenizer):
    narrow = tiny_tokenizer().half()
    with torch.no_grad():
        narrow.pre_quant.bias.fill_(6e4)
        narrow.pre_quant.weight.fill_(6e4)
        with pytest.raises(NonFiniteError, match='latents of image 0 are not finite'):
            narrow.encode(random_images())


def latent_abs_max(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    found = tokenizer.train()(images).latent_abs_max
    assert found is not None
    return found


def test_training_gives_the_largest_latent_for_the_loop_to_look_at():
    tokenizer, images = tiny_tokenizer(dict(type='FSQ', levels=(4, 3), code_dim=8)), random_images()
    with torch.no_grad():
        expected = tokenizer.encode_latent(images).abs().max()
    assert torch.equal(latent_abs_max(tokenizer, images), expected)
    assert tokenizer.eval()(images).latent_abs_max is None


@pytest.mark.parametrize(
    'quantizer', [FVQ, dict(type='GumbelQuantizer', codebook_size=16, code_dim=8)], ids=lambda c: c['type']
)
def test_labels_that_no_projector_takes_are_refused(quantizer: dict[str, Any]):
    with pytest.raises(UserError, match='Tokenizer takes no labels; drop labels_B'):
        tiny_tokenizer(quantizer).train()(random_images(), torch.zeros(2, dtype=torch.int64))
