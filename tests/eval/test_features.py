"""Extractors give the same features for any batch and type of pixels, and only the published network is called Inception."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from fvq_core.errors import UserError
from fvq_core.losses.perceptual.weights import MissingWeightsError
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_eval.features import Backbone, FeatureExtractor, InceptionV3, RandomFeatures, TorchScriptFeatures
from fvq_eval.features import feature_extractor as contract
from fvq_eval.features.each_image import one_thread
from fvq_eval.features.exact_precision import exact_precision
from fvq_eval.features.inception_weights import FILE, SHA256, find_inception


def pixels(batch: int = 3, side: int = 40) -> Tensor:
    return torch.randint(0, 256, (batch, 3, side, side + 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture(scope='module')
def inception() -> InceptionV3:
    return InceptionV3(random=True)


@pytest.fixture(scope='module')
def theirs(inception: InceptionV3, tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractorInceptionV3:
    """torch-fidelity's own module with the same random weights."""
    path = tmp_path_factory.mktemp('inception') / 'random.pth'
    torch.save(dict(inception.state_dict()), path)
    names = ['2048', 'logits_unbiased', 'logits']
    return FeatureExtractorInceptionV3('inception-v3-compat', names, feature_extractor_weights_path=str(path))


def test_inception_equals_torch_fidelity_s_module(inception: InceptionV3, theirs: FeatureExtractorInceptionV3):
    seen: list[Tensor] = []
    handle = theirs.Mixed_6d.branch1x1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        pool, unbiased, biased = theirs(pixels(2))
    handle.remove()
    ours = inception(pixels(2))
    torch.testing.assert_close(ours['pool'], pool, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours['logits'], unbiased, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours['logits'] + inception.logit_bias_C, biased, rtol=1e-5, atol=1e-5)
    branch_BHWC = seen[0].permute(0, 2, 3, 1)
    assert branch_BHWC.shape == (2, 17, 17, 192)
    assert branch_BHWC.min() == 0  # after the ReLU
    torch.testing.assert_close(ours['spatial'].view(2, 17, 17, 7), branch_BHWC[..., :7], rtol=1e-5, atol=1e-6)


def test_inception_features_do_not_depend_on_the_batch(inception: InceptionV3):
    together, alone = inception(pixels(3)), inception(pixels(3)[1:2])
    for name, size in (('pool', 2048), ('spatial', 2023), ('logits', 1008)):
        assert together[name].shape == (3, size)
        assert together[name].dtype == torch.float32
        assert torch.equal(together[name][1:2], alone[name])


def test_an_image_that_is_299_pixels_wide_is_not_resized(inception: InceptionV3):
    """So that a protocol with another kernel can resize before."""
    seen: list[Tensor] = []
    images = torch.randint(0, 256, (1, 3, 299, 299)).to(torch.uint8)
    handle = inception.Conv2d_1a_3x3.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    inception(images)
    handle.remove()
    assert torch.equal(seen[0], (images.float() - 128) / 128)


def test_random_inception_is_not_called_inception(inception: InceptionV3):
    assert inception.name == 'inception-2015-random-weights'
    assert 'not the trained network' in inception.provenance


def test_the_trained_network_has_the_published_features():
    try:
        network = InceptionV3(find_cached())
    except MissingWeightsError as error:
        pytest.skip(f'no trained weights: {error}')
    assert network.name == 'inception-2015'
    classes = network(pixels(2, 299))['logits'].softmax(1)
    assert classes.sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    official = FeatureExtractorInceptionV3(
        'inception-v3-compat', ['2048'], feature_extractor_weights_path=str(find_cached())
    )
    torch.testing.assert_close(network(pixels(2))['pool'], official(pixels(2))[0], rtol=1e-4, atol=1e-5)


def find_cached() -> Path:
    """Where torch.hub keeps the file; nothing is downloaded by a test."""
    return find_inception(Path(torch.hub.get_dir(), 'checkpoints', FILE))


def test_another_file_than_the_published_one_is_refused_before_it_is_unpickled(tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ('unpickled',))

    torch.save(Trap(), tmp_path / FILE)
    for weights in (tmp_path / FILE, tmp_path):  # the file, or its folder
        with pytest.raises(UserError, match=f'that of {FILE} is {SHA256[:16]}'):
            InceptionV3(weights)


def test_missing_weights_say_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(MissingWeightsError, match=r'does not exist; .*is at https://github.com/toshas'):
        InceptionV3(tmp_path / 'none.pth')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr('urllib.request.urlopen', refuse)
    with pytest.raises(MissingWeightsError, match=r'not in .*checkpoints, and downloading .* failed \(no network\)'):
        InceptionV3()
    with pytest.raises(UserError, match='random=True contradicts'):
        InceptionV3(tmp_path, random=True)


def refuse(*args: object, **options: object) -> None:
    raise OSError('no network')


def test_random_features_are_the_same_everywhere_and_leave_the_random_state_alone():
    before = torch.random.get_rng_state()
    one, other = RandomFeatures(), RandomFeatures()
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, size in one.sizes.items():
        assert torch.equal(one(pixels())[name], other(pixels())[name])
        assert one(pixels())[name].shape == (3, size)
    assert one.fingerprint == other.fingerprint != RandomFeatures(seed=1).fingerprint
    assert 'not a trained network' in one.provenance
    with pytest.raises(UserError, match='not a multiple of 16'):
        FEATURE_EXTRACTORS.build(dict(type='RandomFeatures', spatial=47))


def test_float_pixels_of_whole_values_have_the_features_of_their_bytes():
    network = RandomFeatures()
    for name in network.sizes:
        assert torch.equal(network(pixels())[name], network(pixels().float())[name])


def test_chunks_of_a_gpu_are_padded_and_cut_again(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []

    class Counting(RandomFeatures):
        def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
            sizes.append(len(pixels_BCHW))
            return super().extract(pixels_BCHW)

    network, plain = Counting(), RandomFeatures()
    padded = network.extract_padded(pixels(3).float(), 5)
    assert sizes == [5]
    torch.testing.assert_close(padded['spatial'], plain(pixels(3))['spatial'])
    monkeypatch.setattr(contract, 'GPU_CHUNK', 2)
    assert network(pixels(0))['pool'].shape == (0, 64)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r'expected RGB images \(B, 3, H, W\), got \(2, 1, 8, 8\)'),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), 'expected RGB images'),
        (torch.zeros(1, 3, 8, 8, dtype=torch.float64), 'got torch.float64'),
        (torch.full((1, 3, 8, 8), -1.0), 'got values from -1 to -1'),
        (torch.full((1, 3, 8, 8), 256.0), 'got values from 256 to 256'),
        (torch.full((1, 3, 8, 8), float('nan')), 'got values from nan to nan'),
    ],
)
def test_what_is_not_an_image_is_refused(images: Tensor, message: str):
    with pytest.raises(UserError, match=message):
        RandomFeatures()(images)


def test_features_that_are_not_finite_are_refused():
    network = RandomFeatures()
    network.classifier.weight.fill_(float('inf'))
    with pytest.raises(UserError, match='logits features are not finite'):
        network(pixels())


def test_an_extractor_stays_in_eval_mode_and_gives_no_gradient():
    network = RandomFeatures().train()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_precision_is_pinned_inside_and_restored_outside():
    settings = lambda: (  # noqa: E731
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    )
    before = settings()
    torch.backends.cudnn.benchmark = True
    with contextlib.suppress(ZeroDivisionError), exact_precision('cpu'):
        assert settings() == (False, 'ieee', 'ieee')
        raise ZeroDivisionError
    assert settings() == (True, *before[1:])
    torch.backends.cudnn.benchmark = before[0]


def test_features_are_float32_inside_autocast():
    network = RandomFeatures()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = network(pixels())
    assert torch.equal(inside['pool'], network(pixels())['pool'])


@pytest.mark.parametrize('model', ['resnet18', 'torchvision/resnet18'])
def test_a_backbone_gives_what_is_before_its_classifier(model: str, tmp_path: Path):
    timm, models = pytest.importorskip('timm'), pytest.importorskip('torchvision.models')
    torch.manual_seed(5)
    plain = models.resnet18() if model.startswith('torchvision/') else timm.create_model('resnet18')
    torch.save(plain.state_dict(), tmp_path / 'weights.pth')
    network = Backbone(model, tmp_path / 'weights.pth')
    assert network.sizes == {'pool': 512}
    assert network.name == model.replace('/', '-')
    plain.eval().fc = nn.Identity()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    images = pixels(2, 300).float()
    small = nn.functional.interpolate(images, (224, 224), mode='bicubic', antialias=True).clamp(0, 255)
    with torch.no_grad():
        want = plain((small / 255 - mean) / std)
    torch.testing.assert_close(network(images)['pool'], want, rtol=1e-4, atol=1e-5)


def test_a_backbone_refuses_unknown_names_and_other_files(tmp_path: Path):
    (tmp_path / 'weights.pth').write_bytes(b'not weights')
    with pytest.raises(UserError, match="timm has no network 'resnet81'"):
        Backbone('resnet81', tmp_path / 'weights.pth')
    with pytest.raises(UserError, match="torchvision has no network 'resnet19'; did you mean 'resnet1"):
        Backbone('torchvision/resnet19', tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='its sha256 starts with'):
        Backbone('resnet18', tmp_path / 'weights.pth', sha256='0123')
    with pytest.raises(UserError, match='expected a state dict of tensors, got none that can be read'):
        Backbone('resnet18', tmp_path / 'weights.pth')
    with pytest.raises(MissingWeightsError, match='does not exist'):
        Backbone('resnet18', tmp_path / 'none.pth')


class Mean(nn.Module):
    """Two features: mean and maximum."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    torch.jit.save(torch.jit.script(Mean()), tmp_path / 'mean.pt')
    return tmp_path / 'mean.pt'


def test_a_torchscript_file_is_an_extractor(script: Path):
    network = TorchScriptFeatures(script, mean=128.0, std=[2.0, 2.0, 2.0])
    assert (network.name, network.sizes) == ('mean', {'pool': 2})
    images = pixels().float()
    want = torch.stack([images.mean((1, 2, 3)) - 128, images.amax((1, 2, 3)) - 128], 1) / 2
    torch.testing.assert_close(network(images)['pool'], want)
    assert network.fingerprint != TorchScriptFeatures(script).fingerprint
    assert TorchScriptFeatures(script, side=16)(images)['pool'].shape == (3, 2)


def test_torchscript_refuses_other_files_and_the_name_of_inception(script: Path, tmp_path: Path):
    with pytest.raises(UserError, match="'inception-2015' stands for InceptionV3's weights"):
        TorchScriptFeatures(script, name='inception-2015')
    with pytest.raises(UserError, match='its sha256 starts with'):
        TorchScriptFeatures(script, sha256='beef')
    (tmp_path / 'text.pt').write_text('no')
    with pytest.raises(UserError, match='is not a TorchScript file'):
        TorchScriptFeatures(tmp_path / 'text.pt')
    torch.jit.save(torch.jit.script(nn.Flatten(0)), tmp_path / 'flat.pt')
    with pytest.raises(UserError, match=r'gives no \(1, D\)'):
        TorchScriptFeatures(tmp_path / 'flat.pt')


@pytest.mark.parametrize('name', ['a/fid', 'strict:fid', 'a fid', ''])
def test_a_name_that_reads_like_another_networks_number_is_refused(name: str, script: Path):
    class Named(RandomFeatures):
        def freeze(self) -> None:
            self.name = name
            super().freeze()

    with pytest.raises(UserError, match='expected a name of letters, digits and'):
        Named()
    if name:
        with pytest.raises(UserError, match=f"got '{name}'; name it otherwise"):
            TorchScriptFeatures(script, name=name)


@pytest.mark.parametrize(
    'options',
    [dict(mean=[1, 2]), dict(std=[]), dict(std=0), dict(std=[1, 0, 1]), dict(mean='x'), dict(mean=float('nan'))],
)
def test_torchscript_refuses_pixels_statistics_that_are_not_one_or_three_numbers(options: dict[str, Any], script: Path):
    with pytest.raises(UserError, match=f'expected {next(iter(options))} as one number or one for each of R, G, B'):
        TorchScriptFeatures(script, **options)


def test_a_pair_of_side_lengths_is_refused(script: Path):
    with pytest.raises(UserError, match=r'expected side in whole pixels, got \[8, 8\]'):
        TorchScriptFeatures(script, side=[8, 8])  # type: ignore[arg-type]


@pytest.mark.parametrize('name', ['junk.pth', 'junk.safetensors'])
def test_four_bytes_are_no_weights(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b'\x80\x02X\x01')
    with pytest.raises(UserError, match=rf'{name}: expected a '):
        Backbone('torchvision/squeezenet1_0', weights=tmp_path / name)


def test_threads_side_by_side_give_what_one_after_the_other_gives_in_order_and_leave_their_number():
    network, before = RandomFeatures(), torch.get_num_threads()
    alone = [network(image)['pool'] for image in pixels(7).split(1)]
    with one_thread():
        torch.set_num_threads(3)
        assert torch.equal(network(pixels(7))['pool'], torch.cat(alone))
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_every_extractor_is_registered():
    for extractor in (InceptionV3, Backbone, TorchScriptFeatures, RandomFeatures):
        assert issubclass(extractor, FeatureExtractor)
        assert FEATURE_EXTRACTORS.name_of(extractor) == extractor.__name__
