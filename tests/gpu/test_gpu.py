"""On a CUDA GPU the same things come out as on the CPU: codes, values, gradients, metrics, runs, samples.

Near-ties may fall the other way, and sums are taken in another order, so values agree within tolerances here.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.commands import train
from fvq_core.ops.distributed import choose_device
from fvq_core.ops.nearest_code import nearest_code
from fvq_core.registry import METRICS, MODELS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_eval.commands import test
from fvq_generators.codes_store import CodesStore
from fvq_generators.commands.extract_codes import main as extract_codes

from ..cli.helpers import PHOTOS, TINY
from ..generators.tiny import tiny_generator
from ..quantizers.matrix import acts_first, build, cases, latents
from ..tiny import FVQ, random_images, tiny_tokenizer, tokenizer_config

pytestmark = pytest.mark.gpu
CASES = cases()
RANDOM = (
    'Gumbel',
    'reg-vq',
    'drawn',
    'pooled',
    'random',
    'dead codes',
    'StochasticMask',
    'DiVeQ',
)  # draw on the device


def matching(one: Tensor, other: Tensor) -> float:
    """The share of codes that are the same."""
    return (one.cpu() == other.cpu()).double().mean().item()


def test_auto_is_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('FVQ_DEVICE')
    assert choose_device('auto').type == 'cuda'
    assert choose_device('cpu').type == 'cpu'


@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('mean', [0.0, 30.0])
def test_the_nearest_code_is_that_of_float64_away_from_ties(distance: str, mean: float) -> None:
    z, codebook = (mean * (distance == 'l2') + torch.randn(count, 16) for count in (5000, 700))
    exact = dict(l2=lambda a, b: -torch.cdist(a, b).square(), dot=lambda a, b: a @ b.T)
    scores = exact[distance](z.double(), codebook.double())
    best = scores.topk(2).values
    clear = best[:, 0] - best[:, 1] > 1e-3
    assert clear.float().mean() > 0.98
    for max_scores in (None, 700 * 13):
        got = nearest_code(z.cuda(), codebook.cuda(), distance, max_scores).cpu()
        assert torch.equal(got[clear], scores.argmax(1)[clear])


@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_every_quantizer_gives_the_codes_and_values_of_the_cpu(name: str) -> None:
    quantizer, z = build(CASES[name]), latents(4, 8, 8)
    there = copy.deepcopy(quantizer).cuda()
    expected, got = quantizer(z), there(z.cuda())
    assert got.z_q_BDHW.is_cuda
    same = (got.z_q_BDHW.cpu() - expected.z_q_BDHW).abs().amax(1) < 1e-3
    assert same.double().mean() > 0.97
    assert matching(got.codes.indices_BL, expected.codes.indices_BL) > 0.97
    assert torch.equal(there.embed(got.codes), got.z_q_BDHW)
    assert torch.equal(there.fold()(z.cuda()).codes.indices_BL, got.codes.indices_BL)


@pytest.mark.parametrize('name', CASES)
def test_every_quantizer_trains(name: str) -> None:
    quantizer, z = build(CASES[name], train=True).cuda(), latents(4, 8, 8).cuda().requires_grad_()
    for _ in range(2):
        output = quantizer(z)
        (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [z, *quantizer.parameters()])
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize('name', [name for name in CASES if not any(word in name for word in RANDOM)])
def test_gradients_and_losses_are_those_of_the_cpu(name: str) -> None:
    quantizer, z = (
        build(CASES[name], train=True).double(),
        latents(4, 8, 8).double(),
    )  # no near-tie is decided by rounding
    if acts_first(quantizer):
        pytest.skip('assigns its codes, or moves them first')
    results = []
    for device in ('cpu', 'cuda'):
        module, z_here = copy.deepcopy(quantizer).to(device), z.detach().to(device, copy=True).requires_grad_()
        output = module(z_here)
        (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()
        results.append({'z': z_here.grad, **output.losses} | {n: p.grad for n, p in module.named_parameters()})
    for key, value in results[0].items():
        if value is not None:
            torch.testing.assert_close(
                results[1][key].cpu(), value, rtol=2e-2, atol=1e-4, msg=lambda m, k=key: f'{k}: {m}'
            )


def small_task(**more: Any) -> Any:
    model = dict(type='TokenizerTask', tokenizer=tokenizer_config(FVQ), reconstruction_loss=dict(type='L2Loss'), **more)
    return MODELS.build(model).place(torch.device('cuda')).train()


@pytest.mark.filterwarnings('ignore:Synchronization debug mode is a prototype')
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('adversarial', [False, True])
def test_a_training_step_does_not_wait_for_the_device(precision: str, adversarial: bool) -> None:
    discriminator = dict(type='PatchGAN', ch=8, layers=1)
    gan = dict(adversarial=dict(type='AdversarialLoss', start=0, discriminator=discriminator)) if adversarial else {}
    task = small_task(**gan)
    optimizer = dict(type='Adam', lr=1e-3, fused=True)
    wrappers = build_optim_wrappers(
        dict(type='ClippedOptimWrapper', optimizer=optimizer, max_norm=1.0, precision=precision), task.parts()
    )
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8).pin_memory()
    for _ in range(2):  # libraries take their workspaces
        task.train_step([{'images': images}], wrappers, 0)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode('error')
        losses = task.train_step([{'images': images}], wrappers, 1)['losses']
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert losses['total'].isfinite()


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run on the GPU."""
    work_dir = tmp_path_factory.mktemp('gpu') / 'work'
    assert train.main([PHOTOS, '--work-dir', str(work_dir), '--cfg-options', *TINY, 'device=cuda']) == 0
    return work_dir


def test_a_checkpoint_of_a_gpu_is_read_evaluated_and_exported_without_one(run: Path, tmp_path: Path) -> None:
    state = read_checkpoint(run / 'iter_9.pth')['state_dict']
    assert {value.device.type for value in state.values()} == {'cpu'}
    out = tmp_path / 'metrics.json'
    call = [PHOTOS, str(run / 'iter_9.pth'), '--out', str(out), '--cfg-options', *TINY]
    assert test.main([*call, 'device=cpu']) == 0
    there, here = (json.loads(path.read_text())['metrics'] for path in (run / 'metrics.json', out))
    assert here['psnr']['value'] == pytest.approx(there['psnr']['value'], abs=0.02)
    assert here['usage']['value'] == pytest.approx(there['usage']['value'], abs=4.0)


@torch.no_grad()
def test_a_saved_tokenizer_gives_the_same_codes_on_both(run: Path) -> None:
    images = random_images(2, 64, 96)
    one, other = (Tokenizer.from_pretrained(run / 'tokenizer', device=device) for device in ('cpu', 'cuda'))
    expected, got = one.encode(images), other.encode(images.cuda())
    assert matching(got.indices_BL, expected.indices_BL) > 0.99
    there = replace(expected, indices_BL=expected.indices_BL.cuda())
    torch.testing.assert_close(other.decode(there).cpu(), one.decode(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
def test_a_run_of_a_gpu_is_resumed_on_either(run: Path, device: str, tmp_path: Path) -> None:
    (tmp_path / 'iter_6.pth').write_bytes((run / 'iter_6.pth').read_bytes())
    call = [PHOTOS, '--work-dir', str(tmp_path), '--resume', '--cfg-options', *TINY, f'device={device}']
    assert train.main(call) == 0
    expected, got = (read_checkpoint(folder / 'iter_9.pth')['state_dict'] for folder in (run, tmp_path))
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=0.05, atol=5e-3, msg=lambda m, k=key: f'{k}: {m}')


def test_codes_extracted_on_the_gpu_are_those_of_the_cpu(run: Path, tmp_path: Path) -> None:
    for device in ('cpu', 'cuda'):
        options = ['--size', '64', '--crops', 'random', '2', '--device', device, '--workers', '0']
        assert extract_codes([str(run / 'tokenizer'), 'bundled', str(tmp_path / device), *options]) == 0
    stores = [CodesStore(tmp_path / device) for device in ('cpu', 'cuda')]
    for image in range(len(stores[0])):
        one, other = (store.all_codes(image) for store in stores)
        assert matching(one, other) > 0.98


@pytest.mark.parametrize('name', ['CodebookUsage', 'PSNR', 'SSIM', 'QuantizationError'])
@torch.no_grad()
def test_metrics_are_those_of_the_cpu(name: str) -> None:
    tokenizer, images = tiny_tokenizer(), random_images(3, 32, 32)
    values = []
    for device in ('cpu', 'cuda'):
        there, metric = tokenizer.to(device), METRICS.build(dict(type=name))
        metric.reset(there)
        metric.update(images.to(device), there(images.to(device)), there)
        metric.reduce()
        values.append({key: value.value for key, value in metric.compute().items()})
    assert values[1] == pytest.approx(values[0], rel=0.02)


# Float32 means float32 here; the compiler would rather have less.
@pytest.mark.filterwarnings('ignore:TensorFloat32 tensor cores')
@pytest.mark.parametrize('compile', [False, True])
def test_samples_are_those_of_the_cpu(compile: bool) -> None:
    generator = tiny_generator(layout=dict(type='Grid', height=3, width=4, codebook_size=16384))
    cond, options = torch.arange(64) % 5, dict(seeds=list(range(64)), cfg_scale=1.5, top_k=50)
    expected = generator.sample(cond, **options).indices_BL
    got = generator.cuda().sample(cond.cuda(), compile=compile, **options).indices_BL
    first = got[:, 0].cpu() == expected[:, 0]  # a draw that falls the other way changes all that follow it
    assert first.double().mean() > 0.97
    assert matching(got, expected) > 0.9
