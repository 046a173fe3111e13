"""Alignment with a frozen network's features: what is compared, what learns, and which networks then make no score."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.losses import FeatureAlignment
from fvq_core.losses.perceptual import StageFeatures
from fvq_core.losses.perceptual.vit_features import SMALL
from fvq_core.ops.identical import identical
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.runner import Runner
from fvq_eval.reconstruction.trained_with import networks_of, warn_of_same_network
from tests.tiny import random_images, titok_config, tokenizer_config

from .test_training_options import SGD, batch, make_task, weights_after_a_step

STAGES = 'test_resnet'  # 0.4 million parameters, five stages of 2 to 32 pixels a position
TINY: dict[str, Any] = dict(type='FeatureAlignment', options=SMALL, width=8, hidden=None, random=True)


def alignment(**changes: Any) -> FeatureAlignment:
    found = make_task(alignment={**TINY, **changes}).alignment
    assert found is not None
    return found


def test_the_term_is_one_minus_the_cosine_between_head_and_features_of_the_same_grid() -> None:
    task = make_task(alignment=dict(TINY, weight=0.7))
    images = task.images(batch())
    out = task(images)
    found = task.losses(images, out)['alignment']
    # The latent has 8 x 8 positions; patches have 14 pixels.
    seen = F.interpolate(images, (112, 112), mode='bicubic', antialias=True)
    targets = task.alignment.network.patches(seen)
    assert targets.shape == (4, 64, 32)
    z_BNC = out.quantized.z_q_BDHW.flatten(2).mT
    cosine = F.cosine_similarity(task.alignment.head(z_BNC), targets, dim=2)
    torch.testing.assert_close(found, 0.7 * (1 - cosine).mean())


def test_squared_differences_means_and_three_maps_are_what_they_say() -> None:
    images, z = random_images(2, 16, 16), torch.randn(2, 8, 4, 4)
    plain = alignment(measure='mse', weight=2.0)
    features, grid = plain.positions(z)
    expected = (plain.head(features) - plain.targets(images, grid)).square().mean()
    torch.testing.assert_close(plain.distance(features, plain.targets(images, grid)), 2 * expected)
    pooled = alignment(pooled=True)
    assert pooled.positions(z)[0].shape == (2, 1, 8)
    torch.testing.assert_close(pooled.targets(images, (4, 4)), plain.targets(images, (4, 4)).mean(1, keepdim=True))
    assert [type(part).__name__ for part in alignment(hidden=16).head] == ['Linear', 'SiLU', 'Linear', 'SiLU', 'Linear']


def test_tokens_behind_a_class_token_and_sequences_are_told_apart() -> None:
    tokens = torch.arange(2 * 9 * 8.0).view(2, 9, 8)
    features, grid = alignment(grid=(2, 3), first=1).positions(tokens)
    assert grid == (2, 3)
    assert torch.equal(features, tokens[:, 1:7])
    assert alignment().positions(tokens)[1] == (3, 3)
    assert alignment(pooled=True).positions(tokens.mT)[0].shape == (2, 1, 8)
    with pytest.raises(UserError, match='8 tokens of quantizer are no grid behind 0; set grid and first'):
        alignment().positions(torch.zeros(2, 8, 8))
    with pytest.raises(UserError, match=r'quantizer gives \(2, 6, 3, 3\), not 8 channels; set width'):
        alignment().positions(torch.zeros(2, 6, 3, 3))
    with pytest.raises(UserError, match="unknown measure 'cosin'; did you mean 'cosine'"):
        alignment(measure='cosin')
    with pytest.raises(UserError, match="has no layer 'quantiser'; did you mean 'quantizer'"):
        alignment(layer='quantiser')


@pytest.mark.parametrize('measure', ['cosine', 'mse'])
def test_head_and_tokenizer_get_the_gradient_of_the_same_term(measure: str) -> None:
    task = make_task(alignment=dict(TINY, measure=measure))
    before = copy.deepcopy(task.state_dict())
    after = weights_after_a_step(task, [batch()])
    other = make_task(alignment=dict(TINY, measure=measure))
    images = other.images(batch())
    out = other(images)
    losses = other.losses(images, out)
    features, grid = other.alignment.positions(out.quantized)
    # One term of head and tokenizer together, in place of the two that each step of training has.
    losses['alignment'] = other.alignment.distance(features, other.alignment.targets(images, grid))
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in other.named_parameters():
        expected = before[name] - 0.1 * (0 if parameter.grad is None else parameter.grad)
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6)
    assert not torch.equal(after['alignment.head.0.weight'], before['alignment.head.0.weight'])


@pytest.mark.parametrize('layer', ['encoder', 'quantizer', 'decoder.mid'])
def test_any_layer_of_any_network_can_be_aligned(layer: str) -> None:
    task = make_task(alignment=dict(TINY, layer=layer, width=16 if layer == 'decoder.mid' else 8))
    wrappers = build_optim_wrappers(SGD, task.parts())
    losses = [task.train_step([batch()], wrappers, step)['losses'] for step in range(12)]
    assert set(losses[0]) >= {'total', 'reconstruction', 'alignment'}
    assert min(each['alignment'] for each in losses[6:]) < losses[0]['alignment']
    decoder_moves = layer == 'decoder.mid'
    task.zero_grad()
    images = task.images(batch())
    task.losses(images, task(images))['alignment'].backward()
    assert (task.tokenizer.decoder.conv_in.weight.grad is not None) == decoder_moves
    assert task.tokenizer.encoder.conv_in.weight.grad.any()


def test_a_layer_that_is_computed_again_is_aligned_as_if_it_were_not() -> None:
    steps = []
    for checkpointing in (False, True):
        task = make_task(
            tokenizer_config(checkpointing=checkpointing), alignment=dict(TINY, layer='decoder.mid.0', width=16)
        )
        steps.append(weights_after_a_step(task, [batch()]))
        assert not task.alignment.seen, 'the second pass through the layer keeps nothing alive'
    for name, kept in steps[0].items():
        torch.testing.assert_close(steps[1][name], kept, msg=name)


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
@pytest.mark.parametrize(('layer', 'width'), [('quantizer', 8), ('encoder', 8), ('decoder.mid', 16)])
def test_compiled_halves_are_aligned_as_eager_ones(layer: str, width: int) -> None:
    torch._dynamo.reset()  # what other tests compiled would be found again
    aligned = dict(TINY, layer=layer, width=width)
    eager, compiled = make_task(alignment=aligned), make_task(alignment=aligned, compile='aot_eager')
    torch._dynamo.utils.counters.clear()
    steps = []
    for task in (eager, compiled):
        wrappers = build_optim_wrappers(SGD, task.parts())
        steps.append([task.train_step([batch(seed=seed)], wrappers, seed)['losses'] for seed in range(3)])
    assert torch._dynamo.utils.counters['frames']['ok'] >= 2  # encoder and decoder went through the compiler
    for expected, found in zip(*steps, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert len({float(losses['alignment']) for losses in steps[1]}) == 3, 'each step is aligned by its own pass'
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=1e-5, atol=1e-6)


def test_a_run_that_was_killed_resumes_with_head_and_tokenizer_as_they_would_have_been(tmp_path: Path) -> None:
    options = {
        **{f'{split}_dataloader.dataset.crop_size': 16 for split in ('train', 'val')},
        'train_dataloader.batch_size': 2,
        'val_dataloader.dataset.crops': 2,
        'train_cfg.max_iters': 3,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.report': None,
        'model.tokenizer': {**tokenizer_config(), '_delete_': True},
        'model.alignment': dict(TINY, hidden=8),
    }
    config = str(Path(__file__).parents[2] / 'configs/mini/vq.py')
    Runner.from_cfg(load_config(config, options, work_dir=str(tmp_path))).train()
    ends = [read_checkpoint(tmp_path / f'iter_{number}.pth') for number in (2, 3)]
    head = [key for key in ends[1]['state_dict'] if key.startswith('alignment.head')]
    assert len(head) == 6
    assert not any(torch.equal(ends[0]['state_dict'][key], ends[1]['state_dict'][key]) for key in head), 'it learns'
    for number in (2, 3):
        (tmp_path / f'iter_{number}.pth').unlink()
    Runner.from_cfg(load_config(config, {**options, 'resume': True}, work_dir=str(tmp_path))).train()
    again = read_checkpoint(tmp_path / 'iter_3.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert identical(again[part], ends[1][part]), part


def test_a_container_that_is_never_called_is_refused() -> None:
    task = make_task(alignment=dict(TINY, layer='decoder.levels', width=16))
    with pytest.raises(UserError, match=r"'decoder\.levels' is not called when images are reconstructed"):
        weights_after_a_step(task, [batch()])


def test_tokens_of_a_sequence_are_aligned_by_their_mean() -> None:
    config = titok_config()
    D = config['quantizer']['code_dim']
    task = make_task(config, alignment=dict(TINY, pooled=True, width=D))
    size = task.tokenizer.encoder.image_size
    images: Tensor = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    done = task.train_step([{'images': images}], build_optim_wrappers(SGD, task.parts()), 0)
    assert 0 < done['losses']['alignment'] < 1


def test_the_exported_tokenizer_has_no_head_and_needs_no_network(tmp_path: Any) -> None:
    task = make_task(alignment=TINY)
    task.tokenizer.eval().fold().save_pretrained(tmp_path)
    assert {key.split('.')[0] for key in task.state_dict()} == {'tokenizer', 'alignment'}
    loaded = task.load_saved(str(tmp_path))
    assert not [key for key in loaded.state_dict() if 'alignment' in key or 'head' in key]


def test_scores_of_the_networks_of_training_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    discriminator = dict(type='DINODiscriminator', model='vit_small_patch16_224.dino')
    adversarial = dict(type='AdversarialLoss', discriminator=discriminator)
    model = dict(type='TokenizerTask', alignment=dict(type='FeatureAlignment'), adversarial=adversarial)
    assert networks_of(model) == ['dino', 'dinov2']
    unitok = dict(type='AdversarialLoss', discriminator=dict(type='DINODiscriminator'))
    assert networks_of(dict(model, alignment=None, adversarial=unitok)) == ['dinov2']
    same = dict(type='Backbone', model='vit_large_patch14_reg4_dinov2.lvd142m')
    assert 'trained with the features of dinov2' in str(warn_of_same_network(same, networks_of(model)))
    assert 'take another one' in caplog.text
    assert warn_of_same_network(dict(same, model='vit_base_patch16_clip_224.openai'), networks_of(model)) is None
    assert warn_of_same_network(None, networks_of(model)) is None
    assert networks_of(dict(type='TokenizerTask', perceptual_loss=dict(type='PerceptualLoss'))) == []


@pytest.mark.parametrize(('stage', 'channels', 'pixels'), [(1, 32, 4), (3, 192, 16), (-1, 96, 32)])
def test_a_stage_of_a_convolutional_network_is_the_target_too(stage: int, channels: int, pixels: int) -> None:
    task = make_task(alignment=dict(TINY, model=STAGES, stage=stage, options=None))
    network, images = task.alignment.network, task.images(batch())
    assert (network.out_channels, network.patch_size) == (channels, pixels)
    targets = task.alignment.targets(images, (3, 5))
    # timm's own map of the images at the size that gives it 3 x 5 positions, normalised as timm says.
    seen = F.interpolate(images, (3 * pixels, 5 * pixels), mode='bicubic', antialias=True)
    whole = timm.create_model(STAGES, features_only=True, out_indices=(stage % 5,)).eval()
    whole.load_state_dict(network.net.state_dict(), strict=False)
    mean, std = (torch.tensor(whole.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    (expected,) = whole(((seen + 1) / 2 - mean) / std)
    torch.testing.assert_close(targets, expected.flatten(2).mT)
    done = task.train_step([batch()], build_optim_wrappers(SGD, task.parts()), 0)
    assert 0 < done['losses']['alignment'] < 1


def test_weights_of_a_stage_are_read_from_the_whole_network_and_must_hold_it(tmp_path: Any) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(STAGES).state_dict()
    save_file(whole, tmp_path / 'whole.safetensors')
    network = StageFeatures(STAGES, 2, tmp_path / 'whole.safetensors')
    assert network.net.state_dict().keys() < whole.keys()
    assert all(torch.equal(value, whole[key]) for key, value in network.net.state_dict().items())
    assert 'whole.safetensors, sha256' in network.provenance
    save_file({k: v for k, v in whole.items() if 'layer1' not in k}, tmp_path / 'less.safetensors')
    with pytest.raises(UserError, match=r'less.safetensors holds weights of another model: \d+ missing \(layer1'):
        StageFeatures(STAGES, 2, tmp_path / 'less.safetensors')


def test_stages_that_there_are_not_are_refused() -> None:
    with pytest.raises(UserError, match='test_resnet has the stages 0 to 4, got 5'):
        StageFeatures(STAGES, 5, random=True)
    with pytest.raises(UserError, match='give the file of test_resnet'):
        StageFeatures(STAGES, 2)
    with pytest.raises(UserError, match='depth is of a transformer and stage of a convolutional network'):
        alignment(model=STAGES, stage=1, depth=1)
    network = StageFeatures(STAGES, 2, random=True)
    with pytest.raises(UserError, match='gives 3x3 positions, not 2x2'):
        network.patches(torch.zeros(1, 3, 20, 20))


def test_a_smoke_run_takes_a_small_network_of_the_same_kind() -> None:
    cfg = dict(TINY, model='vgg16', stage=3, depth=None)
    small = FeatureAlignment(**{k: v for k, v in {**cfg, **FeatureAlignment.smoke(cfg)}.items() if k != 'type'})
    assert (small.network.name, small.network.stage) == ('test_resnet', 4)
    assert FeatureAlignment.frozen_network(cfg) == 'vgg16'
