"""What holds for every registered encoder and decoder, on images that are not square."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.registry import DECODERS, ENCODERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_generators.fingerprint import tokenizer_hash

from ..tiny import random_images
from .autoencoder_matrix import HEADS, tokenizers

HEIGHT, WIDTH = 16, 24
CONFIGS = tokenizers(HEIGHT, WIDTH)
# Tracing takes seconds: once for each pair of networks.
TRACED = {(each['encoder']['type'], each['decoder']['type']): name for name, each in CONFIGS.items()}.values()
every_case = pytest.mark.parametrize('name', CONFIGS)


def build(name: str, train: bool = False) -> Tokenizer:
    torch.manual_seed(0)
    return TOKENIZERS.build(CONFIGS[name]).train(train)


def images() -> Tensor:
    return random_images(2, HEIGHT, WIDTH)


def test_everything_registered_is_here() -> None:
    for registry, half in ((ENCODERS, 'encoder'), (DECODERS, 'decoder')):
        here = {config[half]['type'] for config in CONFIGS.values()} | set(HEADS)
        ours = {name for name in registry.names() if registry.get(name).__module__.startswith('fvq_')}
        assert ours <= here, 'add it to tests/core/autoencoder_matrix.py'
    for head, name in HEADS.items():
        assert any(type(module).__name__ == head for module in build(name).modules())


@every_case
@torch.no_grad()
def test_codes_decode_to_what_the_forward_pass_gives_also_one_image_alone(name: str) -> None:
    tokenizer, batch = build(name), images()
    codes, output = tokenizer.encode(batch), tokenizer(batch)
    assert codes.layout == tokenizer.layout(HEIGHT, WIDTH)
    tokenizer.check_layout(codes.layout)
    assert output.reconstruction.shape == batch.shape
    assert torch.equal(codes.indices_BL, output.codes.indices_BL)
    assert torch.equal(tokenizer.decode(codes), output.reconstruction)
    assert len(codes.indices_BL.unique()) > 1
    torch.testing.assert_close(tokenizer(batch[1:]).reconstruction, output.reconstruction[1:], rtol=1e-4, atol=1e-4)


@every_case
@torch.no_grad()
def test_a_folded_and_saved_tokenizer_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    tokenizer, batch = build(name), images()
    expected = tokenizer(batch)
    loaded = Autoencoder.from_pretrained(tokenizer.fold().save_pretrained(tmp_path / 'saved'))
    found = loaded(batch)
    assert torch.equal(found.codes.indices_BL, expected.codes.indices_BL)
    assert torch.equal(found.reconstruction, expected.reconstruction)
    assert tokenizer_hash(loaded) == tokenizer_hash(tokenizer)


def gradients(tokenizer: Tokenizer, batch: Tensor) -> dict[str, Tensor | None]:
    tokenizer.zero_grad()
    output = tokenizer(batch)
    (output.reconstruction.square().mean() + sum(output.losses.values())).backward()
    return {name: p.grad for name, p in tokenizer.named_parameters() if p.requires_grad}


@every_case
def test_training_reaches_every_parameter(name: str) -> None:
    tokenizer = build(name, train=True)
    found = gradients(tokenizer, images())
    assert {key for key, grad in found.items() if grad is None or not grad.isfinite().all()} == set()
    assert isinstance(tokenizer.decoder.last_layer, nn.Parameter)
    assert any(tokenizer.decoder.last_layer is parameter for parameter in tokenizer.decoder.parameters())


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning')  # Dynamo's own
@pytest.mark.parametrize('name', TRACED)
def test_compiled_halves_give_the_same_numbers(name: str) -> None:
    torch._dynamo.reset()
    tokenizer, batch = build(name, train=True), images()
    twin = copy.deepcopy(tokenizer)
    for half in (twin.encoder, twin.decoder):
        half.compile(backend='eager', fullgraph=True)
    torch.testing.assert_close(gradients(twin, batch), gradients(tokenizer, batch), rtol=1e-4, atol=1e-6)


@every_case
@torch.no_grad()
def test_memory_order_and_half_precision(name: str) -> None:
    tokenizer, batch = build(name), images()
    expected = tokenizer(batch).reconstruction
    last = copy.deepcopy(tokenizer).to(memory_format=torch.channels_last)
    found = last(batch.contiguous(memory_format=torch.channels_last)).reconstruction
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    half = copy.deepcopy(tokenizer).bfloat16()
    decoded = half.decode(half.encode(batch))
    assert decoded.dtype == torch.bfloat16
    assert decoded.isfinite().all()
