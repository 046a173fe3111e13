#!/usr/bin/env python
"""One training step of `configs/fvq/fvq_16k.py` against a plain formulation of the same recipe, side by side in one run.

The plain step does what released training loops do: the discriminator runs from step 0 (its loss times 0 before its
start), LPIPS is computed in float32 and gives gradients to the target path too, the N x K distance matrix stays in
autograd with an entropy term at weight 0, images arrive as floats, and every step reads each loss and counts the used
codes on the host. Encoder, decoder, bridge, discriminator, LPIPS network, data and precision are the same.

    python benchmarks/train_step.py --json
    python benchmarks/train_step.py --batch 64 --compile        # on a GPU

Without a GPU it runs at a small size in float32, and says so. LPIPS has random weights: they cost the same.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from quantizer import Textbook
from torch import Tensor, nn

from fvq_core.config.read import load_config
from fvq_core.registry import MODELS
from fvq_core.training.optim_wrapper import build_optim_wrappers

SMALL = [
    'model.tokenizer.encoder.ch=32',
    'model.tokenizer.decoder.ch=32',
    'model.tokenizer.quantizer.codebook_size=4096',
    'model.adversarial.discriminator.ch=32',
]
WINDOW = 65536


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


def wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize()


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


def memory(step: Callable[[], Any], device: torch.device) -> float | None:
    """Peak GiB of one step; None on a CPU."""
    if device.type != 'cuda':
        return None
    torch.cuda.reset_peak_memory_stats()
    step()
    return round(torch.cuda.max_memory_allocated() / 2**30, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, help='images a step; default 32 on a GPU, 2 on a CPU')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--compile', action='store_true', help='measure our step compiled and channels-last as well')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    full = device.type == 'cuda'
    batch, side = args.batch or (32 if full else 2), 256 if full else 64
    precision = 'bfloat16' if full else 'float32'
    cfg = load_config('configs/fvq/fvq_16k.py')
    for option in [] if full else SMALL:
        key, value = option.split('=')
        cfg.merge_from_dict({key: int(value)})
    cfg.model.perceptual_loss.random = True
    cfg.optim_wrapper.precision = precision
    start = cfg.model.adversarial.start
    dtype = torch.bfloat16 if full else None

    torch.manual_seed(0)
    task = MODELS.build(cfg.model).place(device).train()
    lpips = copy.deepcopy(task.perceptual_loss.network)
    lpips.target_gradient = True
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    plain = PlainStep(task, lpips, dtype)
    phases = {'before the discriminator starts': 0, 'after': start}
    result: dict[str, Any] = {
        'device': torch.cuda.get_device_name() if full else 'CPU, small size: 64x64, ch 32, K 4,096',
        'batch': batch,
        'precision': precision,
        'phases': {},
    }
    contenders: dict[str, Callable[[Tensor, int], None]] = {'plain': plain, 'ours': OurStep(copy.deepcopy(task), cfg)}
    if args.compile:
        fast = copy.deepcopy(cfg)
        fast.model.update(compile=True, channels_last=True)
        contenders['ours compiled'] = OurStep(MODELS.build(fast.model).place(device).train(), fast)
    for phase, iteration in phases.items():
        figures = {}
        for name, step in contenders.items():
            seconds = seconds_each(lambda step=step, i=iteration: step(images, i), args.repeats, device)
            gib = memory(lambda step=step, i=iteration: step(images, i), device)
            figures[name] = dict(images_per_second=round(batch / seconds, 2), seconds=round(seconds, 4), peak_gib=gib)
        for name in contenders:
            figures[name]['ratio'] = round(figures['plain']['seconds'] / figures[name]['seconds'], 2)
        result['phases'][phase] = figures
    seconds = {name: seconds_each(run, args.repeats, device) for name, run in parts(task, images, dtype).items()}
    result['share_of_time'] = {name: round(value / sum(seconds.values()), 3) for name, value in seconds.items()}
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
