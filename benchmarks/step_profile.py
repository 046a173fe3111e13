"""What a training step spends its time and memory on; used by `train_step.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

from fvq_core.ops.kernels import Kernel

OURS = {
    **dict.fromkeys(('stats', 'finish', 'apply', 'reduce', 'finish_b', 'apply_b'), 'norms'),
    **dict.fromkeys(('upsample', 'upsample_b', 'residual_sum'), 'pointwise'),
    **dict.fromkeys(('distance', 'distance_b'), 'perceptual distance'),
}
# The first class one of whose words is in the lower-case name of a kernel, or of an operator on a CPU.
CLASSES = {
    'layout copies': ('nchwtonhwc', 'nhwctonchw', 'nchw2nhwc', 'nhwc2nchw'),
    'convolutions': ('conv', 'wgrad', 'dgrad', 'fprop', 'xmma', 'implicit_gemm', 'cudnn'),
    'norms': ('norm', 'welford'),
    'optimizer': ('adam', 'multi_tensor', 'foreach'),
    'matrix products': ('gemm', 'cutlass', 'nvjet', 'addmm', 'aten::mm', 'bmm', 'attention', 'flash'),
    'copies': ('copy', 'memcpy', 'memset', 'clone', 'cat', 'fill', 'aten::pad', 'constant_pad'),
    'compiled': ('triton_',),
    'pointwise': ('elementwise', 'silu', 'relu', 'mul', 'add', 'upsample', 'vectorized', 'pool', 'sum', 'reduce'),
}


def class_of(name: str) -> str:
    """Which class of `CLASSES` a kernel or an operator belongs to."""
    lower = name.lower()
    found = (key for key, words in CLASSES.items() if any(word in lower for word in words))
    return OURS.get(name) or next(found, 'other')


def shares(step: Callable[[], Any], device: torch.device, steps: int = 3) -> dict[str, Any]:
    """Milliseconds a step of each class of kernels, the device's waiting, and the ten longest kernels."""
    step()
    cuda = device.type == 'cuda'
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    wait(device)
    with profile(activities=activities) as recorded:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        wait(device)
        seconds = time.perf_counter() - start
    spent: dict[str, float] = {}
    for event in recorded.key_averages():
        kernel = event.device_type == torch.autograd.DeviceType.CUDA
        if kernel == cuda:
            spent[event.key] = event.self_device_time_total if cuda else event.self_cpu_time_total
    classes: dict[str, float] = {}
    for name, microseconds in spent.items():
        classes[class_of(name)] = classes.get(class_of(name), 0.0) + microseconds / 1000 / steps
    total, busy = 1000 * seconds / steps, sum(classes.values())
    longest = sorted(spent.items(), key=lambda each: -each[1])[:10]
    return {
        'step_ms': round(total, 2),
        'ms': {key: round(value, 2) for key, value in sorted(classes.items(), key=lambda each: -each[1])},
        'share': {key: round(value / total, 3) for key, value in sorted(classes.items(), key=lambda each: -each[1])},
        'waiting': round(max(0.0, 1 - busy / total), 3),
        'longest_ms': {name[:80]: round(microseconds / 1000 / steps, 2) for name, microseconds in longest},
    }


def wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize()


@contextmanager
def phases(task: Any, optimizers: Mapping[str, Any], device: torch.device) -> Iterator[dict[str, float]]:
    """Fills the peak GiB of each phase of the steps inside; stays empty on a CPU."""
    peaks: dict[str, float] = {}

    def ends(phase: str) -> None:
        if device.type == 'cuda':
            peaks[phase] = round(max(peaks.get(phase, 0.0), torch.cuda.max_memory_allocated() / 2**30), 2)
            torch.cuda.reset_peak_memory_stats()

    def around(owner: Any, name: str, before: str, after: str) -> None:
        call = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            ends(before)
            done = call(*args, **kwargs)
            ends(after)
            return done

        setattr(owner, name, watched)

    handle = task.tokenizer.register_forward_hook(lambda *_: ends('forward'))
    for name, optimizer in optimizers.items():
        around(optimizer, 'backward', f'{name} losses', f'{name} backward')
        around(optimizer, 'step', 'before optimizers', f'{name} optimizer')
    try:
        yield peaks
    finally:
        handle.remove()
        for optimizer in optimizers.values():
            for name in ('backward', 'step'):
                delattr(optimizer, name)


def kept_mib(task: Any, side: int, batch: int = 2) -> dict[str, float]:
    """MiB an image that autograd keeps of each part's forward pass with the fused operators: computed, on fake tensors.

    Counted are features in bfloat16, each storage once; weights, latents' vectors and workspace are left out.
    """
    images = torch.zeros(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    tokenizer, found = task.tokenizer, {}
    grid = side // tokenizer.downsample_factor
    latent = torch.zeros(batch, tokenizer.decoder.in_channels, grid, grid)
    latent = latent.contiguous(memory_format=torch.channels_last)
    parts: dict[str, tuple[Callable[..., Any], Tensor]] = {
        'encoder': (tokenizer.encoder, images),
        'decoder': (tokenizer.decoder, latent),
        'perceptual': (lambda x: task.perceptual_loss.network(x, x.detach()), images.clone()),
        'discriminator of the generator': (task.adversarial.generator, images.clone()),
    }
    with torch.autocast('cpu', torch.bfloat16):
        task.perceptual_loss.network.network()  # cast real weights, not fake ones
    enabled = mock.patch.object(Kernel, 'enabled', return_value=True)  # fake tensors launch nothing
    with enabled, FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.autocast('cpu', torch.bfloat16):
        for name, (forward, given) in parts.items():
            given = mode.from_tensor(given).requires_grad_(name != 'encoder')
            kept: dict[int, Any] = {}

            def keep(tensor: Tensor, kept: dict[int, Any] = kept) -> Tensor:
                if tensor.dim() == 4 and tensor.shape[0] == batch and not isinstance(tensor, nn.Parameter):
                    kept[tensor.untyped_storage()._cdata] = tensor  # kept, so that no other storage takes its place
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                out = forward(given)
            found[name] = round(sum(x.untyped_storage().nbytes() for x in kept.values()) / batch / 2**20, 1)
            del out
    return found
