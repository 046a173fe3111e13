#!/usr/bin/env python
"""One training step of `configs/fvq/fvq_16k.py` against a plain formulation of the same recipe, side by side in one run.

The plain step does what released training loops do: the discriminator runs from step 0 (its loss times 0 before its
start), LPIPS is computed in float32 and gives gradients to the target path too, the N x K distance matrix stays in
autograd with an entropy term at weight 0, images arrive as floats, and every step reads each loss and counts the used
codes on the host. Encoder, decoder, bridge, discriminator, LPIPS network, data and precision are the same.

    python benchmarks/train_step.py --json
    python benchmarks/train_step.py --batch 64 --compile --profile        # on a GPU

Our step is taken without the fused kernels, with them but keeping the inputs of convolutions, as `FVQ_KERNELS=all` does, and
with `model.compile=True`. `agreement` compares losses and gradients of a first step with and without kernels, and both
gradients with those of float32.

Without a GPU it runs at a small size in float32, and says so. LPIPS has random weights: they cost the same.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from quantizer import Textbook
from step_profile import kept_mib, phases, shares, wait
from torch import Tensor, nn

from fvq_core.config.read import load_config
from fvq_core.ops import recomputed_conv
from fvq_core.ops.kernels import KERNELS
from fvq_core.ops.kernels import switch as switch_cache
from fvq_core.registry import MODELS
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_eval.features.exact_precision import exact_precision

SMALL = [
    'model.tokenizer.encoder.ch=32',
    'model.tokenizer.decoder.ch=32',
    'model.tokenizer.quantizer.codebook_size=4096',
    'model.adversarial.discriminator.ch=32',
]
WINDOW = 65536
USED = ('group_norm_silu', 'upsample2x', 'feature_distance')


class PlainQuantizer(Textbook):
    """The textbook on a codebook that a bridge maps."""

    def __init__(self, raw_KD: Tensor, bridge: nn.Module) -> None:
        super().__init__(*raw_KD.shape)
        self.bridge = bridge
        with torch.no_grad():
            self.embedding.copy_(raw_KD)

    def codebook(self) -> Tensor:
        return self.bridge(self.embedding)


class PlainStep:
    """The released way to take one step."""

    def __init__(self, task: Any, lpips: nn.Module, precision: torch.dtype | None) -> None:
        task = copy.deepcopy(task)
        tokenizer = task.tokenizer
        self.autoencoder, self.adversarial, self.precision = tokenizer, task.adversarial, precision
        self.quantizer = PlainQuantizer(tokenizer.quantizer.embedding, tokenizer.quantizer.projector)
        self.quantizer.to(tokenizer.quantizer.embedding.device)
        self.lpips = lpips
        trained = [*tokenizer.encoder.parameters(), *tokenizer.decoder.parameters(), *self.quantizer.parameters()]
        trained += [*tokenizer.pre_quant.parameters(), *tokenizer.post_quant.parameters()]
        self.optimizers = [
            torch.optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.95))
            for parameters in (trained, [*self.adversarial.parameters()])
        ]
        self.trained = trained
        self.window = torch.zeros(WINDOW, device=trained[0].device)

    def __call__(self, images_uint8: Tensor, iteration: int) -> None:
        device = self.trained[0].device
        images = (images_uint8.float() / 127.5 - 1).to(device)
        started = self.adversarial.active(iteration)
        with torch.autocast(device.type, self.precision, enabled=self.precision is not None):
            z_q, codebook_loss = self.quantizer(self.autoencoder.encode_latent(images))
            reconstruction = self.autoencoder.decode_latent(z_q)
        target = images.clone().requires_grad_()
        terms = [(reconstruction.float() - images).square().mean(), codebook_loss]
        terms.append(self.lpips(reconstruction.float(), target).mean())
        terms.append(0.5 * started * self.adversarial.generator(reconstruction.float()))
        self.optimizers[0].zero_grad()
        sum(terms).backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizers[0].step()
        with torch.autocast(device.type, self.precision, enabled=self.precision is not None):
            discriminator_loss = sum(self.adversarial(images, reconstruction.detach()).values()) * started
        self.optimizers[1].zero_grad()
        discriminator_loss.backward()
        nn.utils.clip_grad_norm_(self.adversarial.parameters(), 1.0)
        self.optimizers[1].step()
        codes = z_q.detach().flatten(2).sum(1).flatten().float()  # stands for the indices: the counting costs the same
        self.window = torch.cat([self.window[len(codes) :], codes])
        _ = len(torch.unique(self.window)), [term.item() for term in terms], discriminator_loss.item()


class OurStep:
    """What the Runner does in an iteration."""

    def __init__(self, task: Any, cfg: Any) -> None:
        self.task, self.optimizers = task, build_optim_wrappers(cfg.optim_wrapper, task.parts())

    def __call__(self, images_uint8: Tensor, iteration: int) -> None:
        self.task.train_step([{'images': images_uint8}], self.optimizers, iteration)


def seconds_each(step: Callable[[], Any], repeats: int, device: torch.device, warmup: int = 2) -> float:
    """Median seconds of a call, the device waited for."""
    times = []
    for number in range(warmup + repeats):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        if number >= warmup:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def parts(task: Any, images_uint8: Tensor, precision: torch.dtype | None) -> dict[str, Callable[[], Any]]:
    """Forward and backward of each part of our step, alone."""
    images = task.images({'images': images_uint8})
    tokenizer, adversarial = task.tokenizer, task.adversarial
    with torch.no_grad():
        z = tokenizer.encode_latent(images)
        z_q = tokenizer.quantizer(z).z_q_BDHW
        reconstruction = tokenizer.decode_latent(z_q).float()

    def both_ways(forward: Callable[[Tensor], Tensor], given: Tensor) -> Callable[[], None]:
        def run() -> None:
            x = given.detach().requires_grad_()
            with torch.autocast(x.device.type, precision, enabled=precision is not None):
                out = forward(x)
            out.float().square().mean().backward()

        return run

    def quantize(x: Tensor) -> Tensor:
        out = tokenizer.quantizer(x)
        return torch.stack([out.z_q_BDHW.mean(), *out.losses.values()])

    return {
        'encoder': both_ways(tokenizer.encode_latent, images),
        'quantizer': both_ways(quantize, z),
        'decoder': both_ways(tokenizer.decode_latent, z_q),
        'perceptual': both_ways(lambda x: task.perceptual_loss(x, images), reconstruction),
        'adversarial': both_ways(adversarial.generator, reconstruction),
        'discriminator': both_ways(lambda x: torch.stack([*adversarial(images, x).values()]), reconstruction),
    }


@contextmanager
def kernels(switch: str, recompute: bool = True) -> Iterator[None]:
    """Set `FVQ_KERNELS`, and whether convolutions keep their inputs, inside."""
    with mock.patch.dict(os.environ, FVQ_KERNELS=switch), mock.patch.object(recomputed_conv, 'RECOMPUTE', recompute):
        switch_cache.cache_clear()
        yield
    switch_cache.cache_clear()


@dataclass(frozen=True)
class Way:
    """One way to take a step; `build` gives it for a config and the device."""

    switch: str = 'off'
    recompute: bool = True
    compile: bool = False
    plain: bool = False

    def build(self, cfg: Any, device: torch.device, precision: torch.dtype | None) -> Any:
        torch.manual_seed(0)
        cfg = copy.deepcopy(cfg)
        if self.compile:
            cfg.model.compile = True
        task = MODELS.build(cfg.model).place(device).train()
        if not self.plain:
            return OurStep(task, cfg)
        lpips = copy.deepcopy(task.perceptual_loss.network)
        lpips.target_gradient = True
        return PlainStep(task, lpips, precision)


WAYS = {
    'plain': Way(plain=True),
    'ours without kernels': Way(),
    'ours keeping inputs': Way('all', recompute=False),
    'ours': Way('all'),
    'ours compiled': Way('all', compile=True),
}


def measure(way: Way, cfg: Any, images: Tensor, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Both phases of training by one way, and what else was asked of it."""
    precision = torch.bfloat16 if device.type == 'cuda' else None
    begins = cfg.model.adversarial.start
    found: dict[str, Any] = {}
    with kernels(way.switch, way.recompute):
        step = way.build(cfg, device, precision)
        for phase, iteration in {'before the discriminator starts': 0, 'after': begins}.items():
            seconds = seconds_each(lambda i=iteration: step(images, i), args.repeats, device)
            gib = peak_gib(lambda i=iteration: step(images, i), device)
            rate = round(len(images) / seconds, 2)
            found[phase] = dict(images_per_second=rate, seconds=round(seconds, 4), peak_gib=gib)
        if isinstance(step, OurStep) and way.switch == 'all':
            if device.type == 'cuda':
                with phases(step.task, step.optimizers, device) as peaks:
                    step(images, begins)
                found['peak_gib_by_phase'] = peaks
            if args.profile:
                found['profile'] = shares(lambda: step(images, begins), device)
            if args.profile and way == WAYS['ours']:
                times = {
                    name: seconds_each(run, args.repeats, device)
                    for name, run in parts(step.task, images, precision).items()
                }
                found['share_of_time'] = {name: round(value / sum(times.values()), 3) for name, value in times.items()}
        found['kernels'] = sorted(name for name in USED if KERNELS[name].enabled(device))
    return found


def peak_gib(step: Callable[[], Any], device: torch.device) -> float | None:
    """Peak GiB of one step; None on a CPU."""
    if device.type != 'cuda':
        return None
    torch.cuda.reset_peak_memory_stats()
    step()
    return round(torch.cuda.max_memory_allocated() / 2**30, 2)


def agreement(cfg: Any, images: Tensor, device: torch.device) -> dict[str, float]:
    """Losses and gradients of a first step with kernels beside one without, and both gradients' errors, relative.

    The error is the distance from a step in float32. Rounding to half precision changes codes, and with them loss and gradient
    by more than a kernel may; so steps with and without kernels are compared in float32.
    """
    exact_cfg = copy.deepcopy(cfg)
    exact_cfg.optim_wrapper.precision = 'float32'
    seen = []
    for switch, each in (('off', exact_cfg), ('all', exact_cfg), ('off', cfg), ('all', cfg)):
        exact = each is exact_cfg
        with kernels(switch), exact_precision(device.type) if exact else nullcontext():
            step = WAYS['ours'].build(each, device, None)
            optimizers = {name: step.optimizers[name] for name in step.task.parts()}
            losses = step.task.backward({'images': images}, optimizers, 1).losses
            gradients = [p.grad.float().flatten() for p in step.task.parameters() if p.grad is not None]
            seen.append((losses['total'].double(), torch.cat(gradients)))
    (loss, gradient), (fused_loss, fused_gradient), *half = seen
    plain_error, error = (float((each - gradient).norm() / gradient.norm()) for _, each in half)
    return {
        'loss': float((fused_loss - loss).abs() / loss.abs()),
        'gradient_norm': float((fused_gradient.norm() - gradient.norm()).abs() / gradient.norm()),
        'gradient': float((fused_gradient - gradient).norm() / gradient.norm()),
        'half_gradient': error,
        'half_plain_gradient': plain_error,
    }


def kept(cfg: Any) -> dict[str, Any]:
    """MiB an image that autograd keeps, with and without inputs of convolutions; computed, not measured."""
    cfg.model.perceptual_loss.random = True
    task = MODELS.build(cfg.model).train()
    task.to(memory_format=torch.channels_last)
    found: dict[str, Any] = {}
    for name in ('ours keeping inputs', 'ours'):
        with mock.patch.object(recomputed_conv, 'RECOMPUTE', WAYS[name].recompute):
            parts = kept_mib(task, 256)
        found[name] = {'mib_an_image': parts, 'gib_at_batch_64': round(sum(parts.values()) * 64 / 1024, 1)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, help='images per step; default: 32 on a GPU, 2 on a CPU')
    parser.add_argument('--repeats', type=int, default=5, help='measured repeats; default %(default)s')
    parser.add_argument(
        '--ways', nargs='+', choices=WAYS, help='variants to measure; default: all but the compiled one'
    )
    parser.add_argument('--compile', action='store_true', help='also measure our step compiled')
    parser.add_argument('--profile', action='store_true', help='print where our steps spend their time')
    parser.add_argument('--kept', action='store_true', help='only compute the memory that autograd keeps at 256x256')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    full = device.type == 'cuda'
    batch, side = args.batch or (32 if full else 2), 256 if full else 64
    precision = 'bfloat16' if full else 'float32'
    cfg = load_config('configs/fvq/fvq_16k.py')
    if args.kept:
        print(json.dumps(kept(cfg), indent=None if args.json else 2))
        return
    for option in [] if full else SMALL:
        key, value = option.split('=')
        cfg.merge_from_dict({key: int(value)})
    cfg.model.perceptual_loss.random = True
    cfg.optim_wrapper.precision = precision
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    result: dict[str, Any] = {
        'device': torch.cuda.get_device_name() if full else 'CPU, small size: 64x64, ch 32, K 4,096',
        'batch': batch,
        'precision': precision,
        'agreement': agreement(cfg, images[:8], device),
        'ways': {},
    }
    names = args.ways or [name for name in WAYS if args.compile or not WAYS[name].compile]
    for name in names:
        result['ways'][name] = measure(WAYS[name], cfg, images, device, args)
        gc.collect()
        if full:
            torch.cuda.empty_cache()
    if 'plain' in result['ways']:
        for way in result['ways'].values():
            for phase in ('before the discriminator starts', 'after'):
                way[phase]['ratio'] = round(result['ways']['plain'][phase]['seconds'] / way[phase]['seconds'], 2)
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
