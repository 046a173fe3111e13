"""Whole training steps with the fused operators, whose own fallbacks compute here: their graph, layouts, memory and sums.

`interpreted_fused_ops.py` has the kernels themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from fvq_core.autoencoders.layers.resample import Upsample
from fvq_core.autoencoders.layers.resnet_block import ResnetBlock
from fvq_core.ops import recomputed_conv
from fvq_core.ops.kernels import KERNELS, Kernel
from fvq_core.registry import MODELS
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.tasks import TokenizerTask

DEVICE = torch.device('cpu')  # tests/gpu puts another here
LATENT = 16  # side, of images of 32
SIZE = dict(ch=8, ch_mult=(1, 2), num_res_blocks=1, z_channels=8, norm_groups=4)
MAGVIT2 = (dict(type='MAGVIT2Encoder', **SIZE), dict(type='AdaptiveGroupNormDecoder', **SIZE))
VQGAN = (dict(type='VQGANEncoder', **SIZE), dict(type='VQGANDecoder', **SIZE))
VQ = dict(type='VectorQuantizer', codebook_size=32, code_dim=8)
MULTI_SCALE = dict(type='MultiScaleQuantizer', quantizer=VQ, scales=(1, 2, 4, 16), num_phi=2)
RESIDUAL = dict(type='ResidualQuantizer', quantizer=VQ, depth=2)
PATCHGAN = dict(type='PatchGAN', ch=8, layers=1)
STYLEGAN = dict(type='StyleGANDiscriminator', image_size=32, base_channels=8)
MASKGIT = (dict(type='MaskGITEncoder', **SIZE), dict(type='MaskGITDecoder', **SIZE))
VITAMIN = dict(conv_widths=(8,), conv_depths=(2,), width=16, depth=1, heads=2, z_channels=8)
VIT = dict(patch_size=4, width=16, depth=1, heads=2, head_width=8)
VIT_VQGAN = (dict(type='ViTVQGANEncoder', **VIT), dict(type='ViTVQGANDecoder', **VIT))
UNITOK = (dict(type='ViTaminEncoder', **VITAMIN), dict(type='ViTaminDecoder', **VITAMIN))
NETWORKS = {
    'fvq': (VQGAN, VQ, PATCHGAN),
    'var': (VQGAN, MULTI_SCALE, PATCHGAN),
    'rq': (VQGAN, RESIDUAL, STYLEGAN),
    'magvit2': (MAGVIT2, VQ, PATCHGAN),
    'maskgit': (MASKGIT, VQ, PATCHGAN),
    'unitok': (UNITOK, VQ, PATCHGAN),
    'vit-vqgan': (VIT_VQGAN, VQ, STYLEGAN),
}


def enabled(kernel: Kernel, device: torch.device) -> bool:
    return not kernel.failed


enabled._dynamo_marked_constant = True


@contextmanager
def fused() -> Iterator[None]:
    """The operators run, and compute in plain torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, 'enabled', enabled)
        patch.setattr(Kernel, 'run', lambda kernel, launch, plain: plain())
        yield


def make_task(name: str, **options: Any) -> TokenizerTask:
    (encoder, decoder), quantizer, discriminator = NETWORKS[name]
    torch.manual_seed(0)
    model = dict(
        type='TokenizerTask',
        tokenizer=dict(type='Tokenizer', encoder=encoder, quantizer=quantizer, decoder=decoder),
        reconstruction_loss=dict(type='L2Loss'),
        perceptual_loss=dict(type='PerceptualLoss', net='squeeze', random=True),
        adversarial=dict(type='AdversarialLoss', discriminator=discriminator, start=0),
        **options,
    )
    return MODELS.build(model).place(DEVICE).train()


def batch() -> dict[str, Tensor]:
    rng = torch.Generator('cpu').manual_seed(1)
    return {
        'images': torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=rng, device='cpu').repeat(
            1, 1, 2, 2
        )
    }


def step(task: TokenizerTask, precision: str = 'bfloat16') -> tuple[Mapping[str, Tensor], dict[str, Tensor]]:
    """Losses, and the gradients of every parameter."""
    optimizer = dict(type='ClippedOptimWrapper', optimizer=dict(type='SGD', lr=0.1), max_norm=None, precision=precision)
    wrappers = build_optim_wrappers(optimizer, task.parts())
    done = task.backward(batch(), {name: wrappers[name] for name in task.parts()}, 1)
    return done.losses, {name: p.grad for name, p in task.named_parameters() if p.grad is not None}


class Layouts(TorchDispatchMode):
    """Sees what convolutions are given, forward and backward, and every copy from one memory order to the other.

    Left out is what has the size of the latent: quantizers give it in their own order, and attention its keys' gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions, self.others, self.copies = 0, [], []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ('convolution', 'convolution_backward', '_convolution'):
            self.convolutions += 1
            count = 2 if name == 'convolution_backward' else 1
            self.others += [
                (name, tuple(x.shape)) for x in args[:count] if x.shape[-1] > LATENT and not channels_last(x)
            ]
        elif name in ('clone', '_to_copy', 'copy_', 'contiguous') and isinstance(out, Tensor) and out.dim() == 4:
            given = args[1] if name == 'copy_' else args[0]
            if given.dim() == 4 and given.shape[-1] > LATENT and channels_last(given) != channels_last(out):
                self.copies.append((name, tuple(out.shape), given.stride(), out.stride()))
        return out


def channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', NETWORKS)
def test_every_convolution_and_gradient_is_channels_last_and_nothing_is_copied(name: str) -> None:
    with fused():
        check_layouts(name)


def check_layouts(name: str) -> None:
    task = make_task(name)
    assert task.channels_last, 'the default where the kernels run'
    with Layouts() as seen:
        step(task)
    assert seen.convolutions > 60
    assert seen.others == []
    assert [shape for _, shape, _, _ in seen.copies] == [(2, 3, 32, 32)], 'the images, as they come'


@pytest.mark.parametrize('name', NETWORKS)
def test_a_step_equals_the_plain_one_within_the_rounding_of_bfloat16(name: str) -> None:
    with fused():
        losses, gradients = step(make_task(name))
    task = make_task(name)
    assert not task.channels_last
    plain_losses, plain_gradients = step(task)
    exact_losses, exact = step(make_task(name), 'float32')
    assert losses.keys() == plain_losses.keys()
    for key, value in losses.items():
        near = 3 * (plain_losses[key] - exact_losses[key]).abs() + 0.01 * exact_losses[key].abs()
        assert (value - exact_losses[key]).abs() <= near, key
    assert gradients.keys() == plain_gradients.keys()
    own = distance(gradients, exact)
    assert own <= 1.25 * distance(plain_gradients, exact) + 2**-8


def distance(gradients: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """Relative to the norm of all gradients."""
    norms = [
        torch.cat([g.flatten().double() for g in each]).norm()
        for each in ([gradients[key] - exact[key] for key in exact], list(exact.values()))
    ]
    return float(norms[0] / norms[1])


def test_in_float32_a_step_is_the_plain_one_to_five_digits() -> None:
    with fused():
        losses, gradients = step(make_task('fvq'), 'float32')
    plain_losses, plain = step(make_task('fvq'), 'float32')
    torch.testing.assert_close(dict(losses), dict(plain_losses), rtol=1e-5, atol=1e-6)
    assert distance(gradients, plain) < 1e-5


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_networks_trace_whole_and_give_the_same() -> None:
    with fused():
        eager, compiled = make_task('fvq'), make_task('fvq')
        for module in compiled.compiled_modules():
            module.compile(backend='aot_eager', fullgraph=True)
        (losses, gradients), (expected_losses, expected) = step(compiled), step(eager)
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    torch.testing.assert_close(dict(losses), dict(expected_losses), rtol=2e-2, atol=1e-3)
    assert distance(gradients, expected) < 2**-6


def test_convolutions_may_keep_their_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    with fused():
        losses, gradients = step(make_task('fvq'), 'float32')
        monkeypatch.setattr(recomputed_conv, 'RECOMPUTE', False)
        kept_losses, kept_gradients = step(make_task('fvq'), 'float32')
    assert all(torch.equal(losses[key], kept_losses[key]) for key in losses)  # the same operators in the forward pass
    assert distance(gradients, kept_gradients) < 1e-5


@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
@pytest.mark.parametrize('backend', [None, 'aot_eager_decomp_partition'])
def test_a_block_keeps_half_as_much_for_the_backward_pass(backend: str | None) -> None:
    """Compiled too: the partition of a joint graph, which the backend takes from inductor, keeps what the operators keep."""

    def kept(backend: str | None = None) -> int:
        torch.manual_seed(0)
        block, numbers = ResnetBlock(16, 16, norm_groups=4), {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.dim() == 4 and tensor.shape[0] == 2:
                numbers[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        if backend is not None:
            block.compile(backend=backend, fullgraph=True)
        x = torch.randn(2, 16, 16, 16).contiguous(memory_format=torch.channels_last).bfloat16().requires_grad_()
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with torch.autocast('cpu', torch.bfloat16):
            block(x).sum().backward()  # compiled here, where hooks would end up in the graph
            with hooks:
                out = block(x)
        assert out.shape == x.shape
        return sum(numbers.values())

    with fused():
        little = kept(backend)
    assert little == 2 * 2 * 16**3 * 2  # two features of bfloat16
    assert little < 0.5 * kept()


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    with fused():
        one, other = make_task('fvq'), make_task('fvq')
        other.tokenizer.encoder.checkpointing = other.tokenizer.decoder.checkpointing = True
        (_, gradients), (_, checkpointed) = step(one, 'float32'), step(other, 'float32')
    assert distance(checkpointed, gradients) < 1e-6


def test_an_adaptive_weight_goes_through_the_operators_twice() -> None:
    with fused():
        task = make_task('fvq')
        task.adversarial.adaptive = True
        losses, _ = step(task, 'float32')
    plain = make_task('fvq')
    plain.adversarial.adaptive = True
    torch.testing.assert_close(losses['adversarial'], step(plain, 'float32')[0]['adversarial'], rtol=1e-4, atol=1e-6)


def test_a_kernel_that_fails_in_the_middle_of_a_step_leaves_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty launches, then the lack of a driver here shows itself: a step of both ways, one warning for each kernel."""
    expected, plain = step(make_task('fvq'), 'float32')
    launches = itertools.count()
    really = Kernel.run

    def run(kernel: Kernel, launch: Any, compute: Any) -> Any:
        return compute() if next(launches) < 40 else really(kernel, launch, compute)

    monkeypatch.setattr(Kernel, 'enabled', enabled)
    monkeypatch.setattr(Kernel, 'run', run)
    for kernel in KERNELS.values():
        monkeypatch.setattr(kernel, 'failed', False)
    with pytest.warns(RuntimeWarning, match='the kernel .* does not run here') as caught:
        losses, gradients = step(make_task('fvq'), 'float32')
    assert len(caught) == len({str(each.message) for each in caught}) <= 3
    assert KERNELS['group_norm_silu'].failed
    torch.testing.assert_close(dict(losses), dict(expected), rtol=1e-5, atol=1e-6)
    assert distance(gradients, plain) < 1e-5


@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_one_graph_serves_images_of_any_size() -> None:
    with fused():
        block, counter = Upsample(8), CompileCounter()
        compiled = torch.compile(block, backend=counter, dynamic=True)
        for side in range(4, 8):
            x = torch.randn(2, 8, side, side + 1)
            torch.testing.assert_close(compiled(x), block(x))
    assert counter.frame_count == 1


@pytest.mark.parametrize('padding', [dict(padding='same'), dict(padding=1, padding_mode='reflect')])
def test_a_convolution_with_another_padding_keeps_it(padding: dict[str, Any]) -> None:
    norm, conv, x = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, **padding), torch.randn(1, 8, 6, 6, requires_grad=True)
    with fused():
        got, bias, _ = recomputed_conv.norm_conv(x, norm, conv)
        twice = recomputed_conv.upsample_conv(x, conv)
    assert bias is None
    torch.testing.assert_close(got, conv(F.silu(norm(x))))
    torch.testing.assert_close(twice, conv(F.interpolate(x, scale_factor=2.0)))
    (got.sum() + twice.sum()).backward()
    assert x.grad is not None
