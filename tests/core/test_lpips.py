"""LPIPS: the package's numbers and gradients, at less cost; weights that are checked; a network that nobody trains."""

from __future__ import annotations

import copy
import hashlib
import pickle
import shutil
import warnings as standard_warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import lpips
import pytest
import torch
import torchvision
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.losses import PerceptualLoss
from fvq_core.losses.perceptual import LPIPS, MissingWeightsError, weights
from fvq_core.losses.perceptual.lpips import SMALLEST, feature_network
from fvq_core.ops.feature_distance import feature_distance
from fvq_core.registry import LOSSES, MODELS

from ..tiny import random_images, tokenizer_config

NETS = ('vgg', 'alex', 'squeeze')


@pytest.fixture(scope='module')
def ours() -> Callable[[str], LPIPS]:
    """LPIPS with random weights by network, built once; tests leave them as they are."""
    built: dict[str, LPIPS] = {}
    return lambda net: built.setdefault(net, LPIPS(net, random=True))


def shipped_lins(net: str) -> dict[str, Tensor]:
    """The channel weights that come with the lpips package."""
    path = Path(lpips.__file__).parent / 'weights' / 'v0.1' / f'{net}.pth'
    return torch.load(path, map_location='cpu', weights_only=True)


def package_of(ours: LPIPS) -> nn.Module:
    """The lpips package's own module with our network's weights and the channel weights that it ships."""
    with torch.device('meta'), pytest.warns(UserWarning, match='deprecated'):
        package = lpips.LPIPS(pretrained=False, net=ours.net_name, pnet_rand=True, verbose=False)
    package.to_empty(device='cpu')
    package.net.load_state_dict(ours.net.state_dict())
    package.load_state_dict(shipped_lins(ours.net_name), strict=False)
    package.scaling_layer = lpips.ScalingLayer()
    return package


def activations_kept(run: Callable[[], Tensor], network: nn.Module) -> int:
    """How many numbers a forward pass keeps for its backward pass beside the network's weights."""
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = run()
    assert out.requires_grad
    return sum(count for pointer, count in kept.items() if pointer not in weights)


@pytest.mark.parametrize('net', NETS)
def test_distances_and_both_gradients_equal_the_packages(net: str, ours: Callable[[str], LPIPS]) -> None:
    pair = [random_images(2, 33, 40).requires_grad_() for _ in range(2)]
    both = copy.copy(ours(net))
    both.target_gradient = True
    got, expected = both(*pair), package_of(ours(net))(*pair).view(2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    assert got.min() > 0.01
    for one, other in zip(torch.autograd.grad(got.sum(), pair), torch.autograd.grad(expected.sum(), pair), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * other.abs().max().item())


def test_the_target_gets_no_gradient_and_the_comparison_keeps_little(ours: Callable[[str], LPIPS]) -> None:
    one, target = random_images(1, 32, 32).requires_grad_(), random_images(1, 32, 32).requires_grad_()
    network = ours('squeeze')
    network(one, target).sum().backward()
    assert one.grad.abs().max() > 0
    assert target.grad is None
    assert not network(one.detach(), target).requires_grad
    package = package_of(network)
    kept = [activations_kept(lambda m=m: m(one, target.detach()), m) for m in (network, package)]
    assert kept[0] < 0.8 * kept[1]  # its target costs the package nothing here either; the comparison does


def test_equal_images_are_at_distance_zero(ours: Callable[[str], LPIPS]) -> None:
    images = random_images(2, 32, 32)
    assert ours('alex')(images, images.clone()).tolist() == [0.0, 0.0]


def test_feature_distance_has_the_gradients_of_its_formula() -> None:
    a, b = (torch.randn(2, 5, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.rand(1, 5, 1, 1, dtype=torch.float64)
    unit_a, unit_b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    expected = (weight * (unit_a - unit_b) ** 2).sum(1).mean((1, 2))
    torch.testing.assert_close(feature_distance(a, b, weight), expected)
    assert torch.autograd.gradcheck(lambda a, b: feature_distance(a, b, weight), (a, b))
    masked = torch.rand(2, 5, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: feature_distance(a, b, masked), (a,))


def test_features_that_are_all_zero_give_no_nan() -> None:
    a, b = torch.rand(1, 4, 2, 2), torch.rand(1, 4, 2, 2)
    a[..., 0, 0] = b[..., 1, 1] = 0
    a.requires_grad_()
    feature_distance(a, b, torch.ones(1, 4, 1, 1)).sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad[..., 0, 0].abs().max() == 0 < a.grad[..., 0, 1].abs().max()


def test_features_in_half_precision_are_compared_in_float32() -> None:
    a, b = torch.rand(1, 64, 4, 4).bfloat16().requires_grad_(), torch.rand(1, 64, 4, 4).bfloat16()
    weight = torch.rand(1, 64, 1, 1)
    got = feature_distance(a, b, weight)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, feature_distance(a.float(), b.float(), weight), rtol=1e-6, atol=0)
    got.sum().backward()
    assert a.grad.dtype == torch.bfloat16


def test_autocast_convolves_in_bfloat16_and_stays_close(ours: Callable[[str], LPIPS]) -> None:
    network, seen = ours('squeeze'), []
    handle = network.net.slice7.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    pair = [random_images(2, 32, 32) for _ in range(2)]
    expected = network(*pair)
    with torch.autocast('cpu', torch.bfloat16):
        got = network(*pair)
    handle.remove()
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0)


def test_autocast_casts_the_weights_once_and_again_after_they_change() -> None:
    network, pair = LPIPS('alex', random=True), [random_images(1, 32, 32) for _ in range(2)]
    with torch.autocast('cpu', torch.bfloat16):
        first = network(*pair)
        cast = network.network()
        assert network.network() is cast
        assert next(cast.parameters()).dtype == torch.bfloat16
        state = {key: 2 * value for key, value in network.state_dict().items()}
        network.load_state_dict(state)
        assert not torch.equal(network(*pair), first)
        network.to(memory_format=torch.channels_last)
        assert next(network.network().parameters()).is_contiguous(memory_format=torch.channels_last)
    assert network.network() is network.net
    assert network.state_dict().keys() == state.keys()


def test_weights_that_were_cast_in_inference_mode_give_gradients_later() -> None:
    network, (one, other) = LPIPS('alex', random=True), [random_images(1, 32, 32) for _ in range(2)]
    with torch.autocast('cpu', torch.bfloat16):
        with torch.inference_mode():
            network(one, other)
        image = one.requires_grad_()
        network(image, other).sum().backward()
    assert image.grad is not None
    assert image.grad.any()


# Dynamo's own way with an autograd function.
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_compiles_whole_and_in_channels_last_order_gives_the_same(ours: Callable[[str], LPIPS]) -> None:
    pair = [random_images(2, 32, 32) for _ in range(2)]
    expected = ours('alex')(*pair)
    network = copy.deepcopy(ours('alex')).to(memory_format=torch.channels_last)
    compiled = torch.compile(network, backend='eager', fullgraph=True)
    images = pair[0].contiguous(memory_format=torch.channels_last).requires_grad_()
    got = compiled(images, pair[1])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    got.sum().backward()
    (grad,) = torch.autograd.grad(network(images, pair[1]).sum(), images)
    torch.testing.assert_close(images.grad, grad)


def test_train_mode_changes_nothing(ours: Callable[[str], LPIPS]) -> None:
    network, pair = copy.deepcopy(ours('alex')), [random_images(2, 32, 32) for _ in range(2)]
    expected = network(*pair)
    assert not network.train().training
    assert not any(module.training for module in network.modules())
    assert torch.equal(network(*pair), expected)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_dropout_is_on_in_train_mode_if_it_is_asked_for() -> None:
    network = LPIPS('alex', random=True, dropout=True)
    one, other = random_images(1, 32, 32), random_images(1, 32, 32)
    expected = network(one, other)
    assert torch.equal(network(one, other), expected)
    draws = network.train()(one.expand(256, 3, 32, 32), other.expand(256, 3, 32, 32))
    assert draws.std() > 0.01 * expected
    torch.testing.assert_close(draws.mean(0, keepdim=True), expected, rtol=0, atol=4 * draws.std().item() / 16)
    assert torch.equal(network.eval()(one, other), expected)


@pytest.mark.parametrize(
    ('one', 'other', 'said'),
    [
        (
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
            torch.zeros(1, 3, 32, 32),
            'expected floats in .* got torch.uint8',
        ),
        (torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), r'expected RGB images .* got \(1, 1, 32, 32\)'),
        (torch.zeros(1, 3, 30, 32), torch.zeros(1, 3, 30, 32), 'sides of at least 31 for alex'),
        (torch.zeros(2, 3, 32, 32), torch.zeros(1, 3, 32, 32), r'\(2, 3, 32, 32\) and target \(1, 3, 32, 32\) differ'),
    ],
)
def test_what_cannot_be_a_pair_of_images_is_refused(
    one: Tensor, other: Tensor, said: str, ours: Callable[[str], LPIPS]
) -> None:
    with pytest.raises(UserError, match=said):
        ours('alex')(one, other)


@pytest.mark.parametrize('net', NETS)
def test_smallest_images_that_are_let_in_have_a_distance(net: str, ours: Callable[[str], LPIPS]) -> None:
    pair = [random_images(1, SMALLEST[net], SMALLEST[net]) for _ in range(2)]
    assert ours(net)(*pair).item() > 0


def test_random_weights_are_the_same_every_time_and_draw_nothing(ours: Callable[[str], LPIPS]) -> None:
    state = torch.get_rng_state()
    network = LPIPS('squeeze', random=True)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(network.parameters(), ours('squeeze').parameters(), strict=True):
        assert torch.equal(one, other)
    assert network.provenance == 'random weights, seed 0: not LPIPS'


def test_on_the_meta_device_no_weights_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offline(monkeypatch, tmp_path)
    with torch.device('meta'):
        loss = PerceptualLoss(net='squeeze')
        assert loss(torch.empty(2, 3, 32, 32), torch.empty(2, 3, 32, 32)).shape == ()
    assert all(tensor.is_meta for tensor in loss.network.state_dict().values())
    assert loss.network.provenance == 'no weights, on the meta device'


def test_options_that_contradict_or_do_not_exist_are_refused() -> None:
    with pytest.raises(UserError, match="no network 'vgg16'; did you mean 'vgg'"):
        LPIPS('vgg16')
    with pytest.raises(UserError, match=r"random=True contradicts weights='x\.pth'"):
        LPIPS('vgg', weights='x.pth', random=True)


def offline(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A machine without a network, with an empty TORCH_HOME; returns the folder that is looked into."""
    monkeypatch.setenv('TORCH_HOME', str(home))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError('no route to host')

    monkeypatch.setattr(weights.urllib.request, 'urlopen', refuse)
    return home / 'hub' / 'checkpoints'


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: Callable[[str], LPIPS]) -> Path:
    """A stand-in for torchvision's file of SqueezeNet, under a name that carries its hash."""
    state = {f'features.{key.split(".", 1)[1]}': value + 1 for key, value in ours('squeeze').net.state_dict().items()}
    plain = tmp_path / 'squeezenet1_1.pth'
    torch.save({**state, 'classifier.1.weight': torch.zeros(10, 512, 1, 1)}, plain)
    path = tmp_path / f'squeezenet1_1-{hashlib.sha256(plain.read_bytes()).hexdigest()[:8]}.pth'
    plain.rename(path)
    monkeypatch.setitem(weights.BACKBONES, 'squeeze', path.name)
    return path


def test_weights_are_found_by_path_in_a_folder_and_in_torch_home(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: Callable[[str], LPIPS]
) -> None:
    checkpoints = offline(monkeypatch, tmp_path / 'home')
    checkpoints.mkdir(parents=True)
    shutil.copy(published, checkpoints)
    found = [LPIPS('squeeze', weights=place) for place in (published, tmp_path, None)]
    assert [network.provenance for network in found] == [f'{published.name}, sha256 checked'] * 3
    for network in found:
        for one, other in zip(network.net.parameters(), ours('squeeze').net.parameters(), strict=True):
            assert torch.equal(one, other + 1)


def test_missing_weights_are_downloaded_with_their_hash(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoints, asked = offline(monkeypatch, tmp_path / 'home'), []

    def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        shutil.copy(published, path)

    monkeypatch.setattr(weights.urllib.request, 'urlopen', lambda *args, **kwargs: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
    for _ in range(2):
        LPIPS('squeeze')
    assert (checkpoints / published.name).is_file()
    assert asked == [(f'https://download.pytorch.org/models/{published.name}', published.stem[-8:])]


def test_missing_weights_without_a_network_name_the_file_its_place_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkpoints = offline(monkeypatch, tmp_path)
    with pytest.raises(MissingWeightsError) as caught:
        PerceptualLoss(net='vgg')
    message = str(caught.value)
    assert '\n' not in message
    url = 'https://download.pytorch.org/models/vgg16-397923af.pth'
    for part in ('vgg16-397923af.pth', str(checkpoints), url, 'no route to host', 'model.perceptual_loss=None'):
        assert part in message
    with pytest.raises(MissingWeightsError, match=r'elsewhere\.pth does not exist; alexnet-owt-7be5be79\.pth is at'):
        LPIPS('alex', weights=tmp_path / 'elsewhere.pth')


def test_a_file_of_another_hash_is_refused_unless_it_is_accepted(published: Path) -> None:
    state = torch.load(published, weights_only=True)
    other = published.with_name('mine.pth')
    torch.save({key: value.half() for key, value in state.items()}, other)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()[:8]
    with pytest.raises(UserError, match=rf'mine\.pth starts with {digest}, that of squeezenet1_1-.* check_hash=False'):
        LPIPS('squeeze', weights=other)
    network = LPIPS('squeeze', weights=other, check_hash=False)
    assert network.provenance == f'mine.pth, sha256 {digest}: not the published {published.name}'
    assert network.net.slice1[0].weight.dtype == torch.float32

    del state['features.12.squeeze.bias']
    torch.save(state, other)
    with pytest.raises(UserError, match=r'weights of another model: 1 missing \(slice7\.12\.squeeze\.bias\)'):
        LPIPS('squeeze', weights=other, check_hash=False)


class Touch:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('check_hash', [True, False])
def test_a_file_that_would_run_code_runs_none(check_hash: bool, tmp_path: Path) -> None:
    path, touched = tmp_path / 'weights.pth', tmp_path / 'touched'
    path.write_bytes(pickle.dumps(Touch(touched), protocol=2))
    with pytest.raises(UserError, match='expected a state dict of tensors' if not check_hash else 'SHA-256'):
        LPIPS('alex', weights=path, check_hash=check_hash)
    assert not touched.exists()


def test_other_channel_weights_are_used_and_named(tmp_path: Path) -> None:
    path = tmp_path / 'lin.pth'
    shipped = shipped_lins('alex')
    torch.save({key: 2 * value for key, value in shipped.items()}, path)
    pair = [random_images(1, 32, 32) for _ in range(2)]
    network = LPIPS('alex', random=True, lin_weights=path)
    torch.testing.assert_close(network(*pair), 2 * LPIPS('alex', random=True)(*pair))
    assert network.provenance.endswith(f'channel weights of {path}')
    with pytest.raises(UserError, match=r'lin\.pth holds weights of another model'):
        LPIPS('squeeze', random=True, lin_weights=path)


def test_only_the_two_warnings_of_an_untrained_network_are_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torchvision.models.alexnet

    def warning(*args: Any, **kwargs: Any) -> nn.Module:
        standard_warnings.warn('something new', UserWarning, stacklevel=2)
        return real(*args, **kwargs)

    monkeypatch.setattr(torchvision.models, 'alexnet', warning)
    with pytest.warns(UserWarning, match='something new') as caught:
        feature_network('alex')
    assert [str(entry.message) for entry in caught] == ['something new']


def perceptual_task(**options: Any) -> nn.Module:
    loss = dict(type='PerceptualLoss', net='alex', random=True, **options)
    recipe = dict(reconstruction_loss=dict(type='L2Loss'), perceptual_loss=loss)
    return MODELS.build(dict(type='TokenizerTask', tokenizer=tokenizer_config(), **recipe))


def test_loss_is_the_weighted_mean_distance_and_follows_the_config(ours: Callable[[str], LPIPS]) -> None:
    one, other = random_images(3, 32, 32), random_images(3, 32, 32)
    loss = LOSSES.build(dict(type='PerceptualLoss', net='alex', random=True, weight=0.5))
    torch.testing.assert_close(loss(one, other), 0.5 * ours('alex')(one, other).mean())
    assert PerceptualLoss.smoke(dict(type='PerceptualLoss', weights='a.pth')) == dict(random=True, weights=None)
    assert 'alex, random weights, seed 0: not LPIPS' in repr(loss)


def test_the_network_is_in_no_state_dict_and_nobody_trains_it() -> None:
    task = perceptual_task()
    without = {key for key in task.state_dict() if not key.startswith('tokenizer.')}
    assert without == set()
    network = task.perceptual_loss.network
    frozen = {id(parameter) for parameter in network.parameters()}
    assert frozen
    assert not frozen & {id(parameter) for parameter in task.parameters()}
    assert not any(module is network for module in task.modules())
    task.train()
    assert not network.training


def test_the_network_follows_its_owner_to_device_type_and_memory_order() -> None:
    task = perceptual_task()
    network = task.perceptual_loss.network
    task.to(torch.float64)
    assert network.net.slice1[0].weight.dtype == network.shift_1C11.dtype == torch.float64
    task.to(memory_format=torch.channels_last)
    assert network.net.slice2[1].weight.is_contiguous(memory_format=torch.channels_last)
    task.to('meta')
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_the_loops_dropout_follows_the_mode_of_its_owner() -> None:
    task = perceptual_task(dropout=True)
    assert task.perceptual_loss.network.training
    assert not task.eval().perceptual_loss.network.training
    assert task.train().perceptual_loss.network.training


def test_a_training_step_goes_through_the_loss() -> None:
    task, images = perceptual_task(), random_images(2, 32, 32)
    losses = task.losses(images, task(images))
    assert list(losses)[:2] == ['reconstruction', 'perceptual']
    losses['perceptual'].backward()
    assert task.tokenizer.encoder.conv_in.weight.grad.abs().max() > 0
