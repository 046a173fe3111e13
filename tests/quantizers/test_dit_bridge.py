"""DiTBridge: positions, adaLN-zero start, the condition and its dropout, folding, the released layout, and what it refuses."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.interop.convert import convert_file
from fvq_core.registry import PROJECTORS, QUANTIZERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.flops import projector_flops
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.interop.fvq_release import import_projector
from tests.tiny import build_from_peer

from ..tiny import random_images, tiny_tokenizer
from .matrix import latents

CLASSES = 5
CONDITIONAL = dict(type='DiTBridge', patch_size=4, output_scale=1.0, num_classes=CLASSES)


def bridge(K: int = 16, D: int = 8, modulated: bool = False, **options: Any) -> nn.Module:
    """In eval mode; with `modulated`, as training would leave it: everything that starts at zero is not."""
    config = {'type': 'DiTBridge', 'patch_size': 4, 'output_scale': 1.0, **options}
    projector = PROJECTORS.build(config, codebook_size=K, code_dim=D).eval()
    return let_modulate(projector) if modulated else projector


def let_modulate(module: nn.Module) -> nn.Module:
    for name, parameter in module.named_parameters():
        if 'modulation' in name or 'label_table' in name:
            nn.init.normal_(parameter)
    return module


def conditional_quantizer(**options: Any) -> VectorQuantizer:
    config = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, projector={**CONDITIONAL, **options})
    quantizer = let_modulate(QUANTIZERS.build(config)).eval()
    nn.init.normal_(quantizer.embedding)
    return quantizer


def norm(tokens: Tensor) -> Tensor:
    centred = tokens - tokens.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def test_grid_positions_are_the_closed_form():
    side, dim = 3, 8
    table = bridge(K=side**2 * 4, hidden_dim=dim).positions
    for row in range(side):
        for column in range(side):
            for i in range(dim // 4):
                w = 10000 ** (-i / (dim // 4))
                entry = table[row * side + column, i :: dim // 4]
                expected = [f(t * w) for t in (column, row) for f in (math.sin, math.cos)]
                assert entry.tolist() == pytest.approx(expected, abs=1e-7)


def test_sequence_positions_are_the_closed_form_also_far_out():
    dim = 6
    table = bridge(K=8192, patching='sequence', hidden_dim=dim, num_heads=2, patch_size=2).positions
    assert table.shape == (4096, dim)
    for t in (0, 1, 1000, 4095):
        angles = [t * 10000 ** (-2 * i / dim) for i in range(dim // 2)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        assert table[t].tolist() == pytest.approx(expected, abs=1e-7)


def test_positions_are_saved_and_not_trained():
    projector = bridge()
    assert 'positions' in projector.state_dict()
    assert 'positions' not in dict(projector.named_parameters())


@pytest.mark.parametrize('patching', ['grid', 'sequence'])
def test_tokens_know_their_position(patching: str):
    projector, codebook_KD = bridge(patching=patching), torch.randn(8).expand(16, 8)
    tokens = projector.patchify(projector(codebook_KD))
    assert torch.pdist(tokens).min() > 0.1  # the tokens that went in were all the same
    projector.positions.zero_()
    assert torch.pdist(projector.patchify(projector(codebook_KD))).max() < 1e-4


@pytest.mark.parametrize('patching', ['grid', 'sequence'])
def test_blocks_start_as_the_identity(patching: str):
    projector, codebook_KD = bridge(patching=patching, depth=3, slot_spread=1.0), torch.randn(16, 8)
    tokens = projector.compress(projector.patchify(codebook_KD)) + projector.positions
    for block in projector.blocks:
        assert torch.equal(block(tokens[None], torch.randn(1, 8))[0], tokens)
    torch.testing.assert_close(projector(codebook_KD), projector.unpatchify(projector.expand(norm(tokens))))


def test_mapped_codebook_is_the_formula_of_dit_blocks():
    projector, codebook_KD = bridge(hidden_dim=12, num_heads=3, depth=2, modulated=True), torch.randn(16, 8)
    condition = F.silu(projector.label_table.weight[0])
    x = projector.compress(projector.patchify(codebook_KD)) + projector.positions
    for block in projector.blocks:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = block.modulation(condition).view(6, 12)
        q, k, v = block.attn.qkv(norm(x) * (1 + scale) + shift).view(4, 3, 3, 4).permute(1, 2, 0, 3)
        heads = (q @ k.mT / math.sqrt(4)).softmax(-1) @ v
        x = x + gate * block.attn.proj(heads.transpose(0, 1).flatten(1))
        hidden = F.gelu(block.mlp.fc1(norm(x) * (1 + mlp_scale) + mlp_shift), approximate='tanh')
        x = x + mlp_gate * block.mlp.fc2(hidden)
    shift, scale = projector.modulation(condition).view(2, 12)
    expected = projector.unpatchify(projector.expand(norm(x) * (1 + scale) + shift))
    torch.testing.assert_close(projector(codebook_KD), expected, atol=1e-4, rtol=1e-4)


def test_every_mapped_code_depends_on_every_raw_code_once_the_blocks_modulate():
    projector, codebook_KD = bridge(modulated=True), torch.randn(16, 8).requires_grad_()
    mapped = projector(codebook_KD)
    for k in range(16):
        (gradient,) = torch.autograd.grad(mapped[k, k % 8], codebook_KD, retain_graph=True)
        assert (gradient.abs().sum(1) > 0).all(), f'code {k} ignores some codes'


def test_released_zero_start_lets_the_raw_codebook_learn_from_the_second_step_on():
    projector = dict(type='DiTBridge', patch_size=4)
    quantizer, z = VectorQuantizer(16, 8, projector=projector).train(), latents()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    assert torch.equal(quantizer.codebook(), torch.zeros(16, 8))
    for step in (1, 2):
        optimizer.zero_grad()
        sum(quantizer(z).losses.values()).backward()
        assert bool(quantizer.embedding.grad.abs().sum() > 0) == (step == 2)
        assert quantizer.projector.expand.weight.grad.abs().sum() > 0
        optimizer.step()


@pytest.mark.parametrize(('classes', 'dropout', 'rows'), [(None, 0.1, 1), (10, 0.1, 11), (10, 0.0, 10)])
def test_number_of_parameters_is_the_closed_form(classes: int | None, dropout: float, rows: int):
    p, D, hidden, depth, ratio = 4, 8, 12, 3, 2
    label = 0 if classes else None
    projector = bridge(
        16, D, hidden_dim=hidden, depth=depth, num_classes=classes, class_dropout=dropout, fold_label=label
    )
    maps = 2 * p * D * hidden + hidden + p * D
    attention = 4 * hidden**2 + 4 * hidden
    mlp = 2 * ratio * hidden**2 + (ratio + 1) * hidden
    modulation = (6 * depth + 2) * (hidden**2 + hidden)
    total = maps + depth * (attention + mlp) + modulation + rows * hidden
    assert sum(q.numel() for q in projector.parameters()) == total


@pytest.mark.parametrize(('K', 'p', 'paper'), [(16384, 16, 4.30e9), (262144, 64, 55.89e9)])
def test_it_costs_what_table_10_of_the_paper_has_for_the_bridge(K: int, p: int, paper: float):
    with torch.device('meta'):
        projector = PROJECTORS.build(dict(type='DiTBridge', patch_size=p), codebook_size=K, code_dim=256)
    assert projector_flops(projector) == pytest.approx(paper, rel=0.005)


def test_labels_give_each_image_the_codebook_of_its_class():
    projector, codebook_KD = bridge(num_classes=CLASSES, modulated=True), torch.randn(16, 8)
    mapped_BKD = projector(codebook_KD, torch.tensor([3, 0, 3, CLASSES]))
    assert mapped_BKD.shape == (4, 16, 8)
    for b, label in enumerate((3, 0, 3, CLASSES)):
        torch.testing.assert_close(mapped_BKD[b], projector(codebook_KD, torch.tensor([label]))[0])
    assert not torch.allclose(mapped_BKD[0], mapped_BKD[1], atol=1e-2)


def test_dropped_labels_become_the_null_class_at_the_given_rate_only_in_training():
    labels = torch.arange(CLASSES).repeat(400)
    projector = bridge(num_classes=CLASSES, class_dropout=0.3).train()
    rows = projector._table_indices(labels, torch.device('cpu'))
    dropped = rows == CLASSES
    assert torch.equal(rows[~dropped], labels[~dropped])
    assert 0.3 * 2000 - 4 * 20.5 < dropped.sum() < 0.3 * 2000 + 4 * 20.5  # four standard deviations
    assert torch.equal(projector.eval()._table_indices(labels, torch.device('cpu')), labels)


@pytest.mark.parametrize('dropout', [0.0, 1.0])
def test_dropout_of_all_or_no_labels_trains_the_null_class_or_the_labels_own(dropout: float):
    projector = bridge(num_classes=CLASSES, class_dropout=dropout, fold_label=2, modulated=True).train()
    projector(torch.randn(16, 8), torch.tensor([1, 3])).square().sum().backward()
    learning = projector.label_table.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    assert learning == ([1, 3] if dropout == 0.0 else [CLASSES])


def test_dropout_follows_torchs_seed():
    projector = bridge(num_classes=CLASSES, class_dropout=0.5, modulated=True).train()
    codebook_KD, labels_B = torch.randn(16, 8), torch.zeros(32, dtype=torch.int64)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(projector(codebook_KD, labels_B))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize('label', [None, 2])
@torch.no_grad()
def test_evaluation_takes_the_fold_label_and_else_the_null_class(label: int | None):
    quantizer = conditional_quantizer(fold_label=label)
    read = CLASSES if label is None else label
    expected = quantizer.projector(quantizer.embedding, torch.tensor([read]))[0]
    assert torch.equal(quantizer.codebook(), expected)
    output = quantizer(latents())
    assert torch.equal(quantizer.embed(output.codes), output.z_q_BDHW)


@torch.no_grad()
def test_folding_keeps_the_codebook_of_the_label():
    quantizer, z = conditional_quantizer(fold_label=1), latents()
    for label in range(CLASSES + 1):
        expected = quantizer.projector(quantizer.embedding, torch.tensor([label]))[0]
        assert torch.equal(quantizer.fold(label=label).codebook(), expected)
    folded = quantizer.fold()
    assert torch.equal(folded(z).codes.indices_BL, quantizer(z).codes.indices_BL)
    assert torch.equal(folded(z).z_q_BDHW, quantizer(z).z_q_BDHW)
    assert torch.equal(folded.fold().codebook(), folded.codebook())
    assert not [key for key in folded.state_dict() if 'projector' in key]


def test_folding_in_training_drops_no_label():
    quantizer = conditional_quantizer(class_dropout=1.0).train()
    folded = quantizer.fold(label=3)
    assert quantizer.training
    with torch.no_grad():
        expected = quantizer.eval().projector(quantizer.embedding, torch.tensor([3]))[0]
        assert torch.equal(folded.codebook(), expected)


def test_folding_a_conditional_bridge_without_a_label_is_refused():
    message = r'once for each of 5 classes, and folding keeps one; call fold\(label=...\).*5 is the null class'
    tokenizer = tiny_tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8, projector=CONDITIONAL))
    for part in (conditional_quantizer(), tokenizer):
        with pytest.raises(UserError, match=message):
            part.fold()


@pytest.mark.parametrize('wrapper', ['ResidualQuantizer', 'MultiScaleQuantizer'])
def test_conditional_bridge_where_codes_are_summed_is_refused(wrapper: str):
    inner = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, projector=CONDITIONAL)
    with pytest.raises(UserError, match=f'{wrapper}: DiTBridge with num_classes makes a codebook for each class'):
        QUANTIZERS.build(dict(type=wrapper, quantizer=inner))


@pytest.mark.parametrize('projector', ['DiTBridge', 'VQBridge', 'Linear', 'Identity'])
def test_a_label_for_a_projector_without_classes_is_refused(projector: str):
    options = dict(patch_size=4) if 'Bridge' in projector else {}
    quantizer = VectorQuantizer(16, 8, projector=dict(type=projector, **options))
    with pytest.raises(UserError, match=r'has no classes.* label, got 3; drop it'):
        quantizer.fold(label=3)


def test_training_a_conditional_bridge_without_labels_is_refused():
    with pytest.raises(UserError, match='num_classes=5 maps the codebook for the label of each image, and got none'):
        conditional_quantizer().train()(latents())


def test_labels_out_of_range_or_without_classes_are_refused():
    codebook_KD = torch.randn(16, 8)
    for label in (-1, CLASSES + 1):
        with pytest.raises(UserError, match=rf'labels lie in 0 \.\.\. 5, got {label}'):
            bridge(num_classes=CLASSES)(codebook_KD, torch.tensor([0, label]))
        with pytest.raises(UserError, match=rf'labels lie in 0 \.\.\. 5, got {label}'):
            conditional_quantizer().fold(label=label)
    with pytest.raises(UserError, match=r'labels lie in 0 \.\.\. 4, got 5'):
        bridge(num_classes=CLASSES, class_dropout=0.0, fold_label=0)(codebook_KD, torch.tensor([CLASSES]))
    with pytest.raises(UserError, match='it has no classes and takes no labels'):
        bridge()(codebook_KD, torch.tensor([0]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(K=32), r"needs a square codebook.*codebook_size 32 and patch_size 4; use patching='sequence'"),
        (dict(K=36, patch_size=5), 'codebook_size 36 is not a multiple of patch_size 5; choose a divisor such as'),
        (dict(hidden_dim=10, num_heads=2), "hidden_dim 10 is not a multiple of 4, which .* of patching='grid' require"),
        (dict(hidden_dim=9, num_heads=3, patching='sequence'), 'hidden_dim 9 is not a multiple of 2'),
        (dict(hidden_dim=12, num_heads=5), 'hidden_dim 12 is not a multiple of num_heads 5'),
        (dict(class_dropout=1.5), r'class_dropout must lie in \[0, 1\], got 1.5'),
        (dict(num_classes=0), 'num_classes must be 1 or more, got 0'),
        (dict(num_classes=5, class_dropout=0.0), 'no null class for evaluation to use; set fold_label'),
        (dict(num_classes=5, fold_label=6), 'labels lie in 0 ... 5, got 6'),
        (dict(fold_label=0), 'has no classes and takes no label, got 0'),
        (dict(output_scale=-1.0), 'output_scale must be 0 or more'),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=f'^DiTBridge: .*{message}'):
        bridge(**options)


def test_sequence_patching_takes_a_codebook_that_is_not_square():
    projector, codebook_KD = bridge(K=24, patching='sequence', modulated=True), torch.randn(24, 8)
    assert torch.equal(projector.unpatchify(projector.patchify(codebook_KD)), codebook_KD)
    assert projector(codebook_KD).shape == (24, 8)


@pytest.mark.parametrize('options', [dict(), dict(num_classes=CLASSES, fold_label=2)])
@torch.no_grad()
def test_saved_tokenizers_give_the_same_pixels_again(tmp_path: Path, options: dict[str, Any]):
    projector = dict(type='DiTBridge', patch_size=4, output_scale=0.1, **options)
    tokenizer = tiny_tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8, projector=projector))
    let_modulate(tokenizer.quantizer)
    images = random_images()
    expected = tokenizer(images)
    assert len(expected.codes.indices_BL.unique()) > 3
    for name, saved in (('whole', tokenizer), ('folded', tokenizer.fold())):
        loaded = Tokenizer.from_pretrained(saved.save_pretrained(tmp_path / name))
        kind = type(loaded.quantizer.projector).__name__
        assert kind == ('DiTBridge' if name == 'whole' else 'IdentityProjector')
        assert torch.equal(loaded(images).codes.indices_BL, expected.codes.indices_BL)
        assert torch.equal(loaded(images).reconstruction, expected.reconstruction)


# Our keys -> the release's, written out here once more so that a slip in the importer's rules shows.
RELEASED_KEYS = (
    (r'positions', 'pos_embed'),
    (r'label_table\.weight', 'y_embedder.embedding_table.weight'),
    (r'compress\.(\w+)', r'x_embedder.proj.\1'),
    (r'(blocks\.\d+)\.modulation\.(\w+)', r'\1.adaLN_modulation.1.\2'),
    (r'modulation\.(\w+)', r'final_layer.adaLN_modulation.1.\1'),
    (r'expand\.(\w+)', r'final_layer.linear.\1'),
    (r'(blocks\..*)', r'\1'),
)
RELEASED_TOKENIZER_KEYS = (
    (r'quantizer\.embedding', 'quantize.embedding.weight'),
    (r'pre_quant\.(.*)', r'quant_conv.\1'),
    (r'post_quant\.(.*)', r'post_quant_conv.\1'),
    (r'(.*)\.levels\.(\d+)\.blocks\.(\d+)\.shortcut\.(.*)', r'\1.conv_blocks.\2.res.\3.nin_shortcut.\4'),
    (r'(.*)\.levels\.(\d+)\.blocks\.(.*)', r'\1.conv_blocks.\2.res.\3'),
    (r'(.*)\.levels\.(\d+)\.attention\.(.*)', r'\1.conv_blocks.\2.attn.\3'),
    (r'(.*)\.levels\.(\d+)\.(.*)', r'\1.conv_blocks.\2.\3'),
    (r'(.*)', r'\1'),
)


def renamed(state: dict[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    names = {key: next(re.sub(f'^{a}$', b, key) for a, b in rules if re.fullmatch(a, key)) for key in state}
    return {names[key]: value for key, value in state.items()}


def released_bridge(projector: nn.Module) -> dict[str, Tensor]:
    """The state dict that the release would have for our bridge."""
    state = renamed(dict(projector.state_dict()), RELEASED_KEYS)
    patch, D = math.isqrt(projector.patch_size), projector.code_dim
    weight = state['x_embedder.proj.weight']
    state['x_embedder.proj.weight'] = weight.view(-1, patch, patch, D).permute(0, 3, 1, 2)
    state['pos_embed'] = state['pos_embed'].unsqueeze(0)
    return state


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(K=64, D=4, patch_size=16, hidden_dim=24, depth=3, num_heads=2, mlp_ratio=4.0),
        dict(hidden_dim=44, mlp_ratio=15 / 44 + 1e-9),  # 44 * (15 / 44) is a little less than 15
        dict(num_classes=CLASSES),
    ],
)
@torch.no_grad()
def test_importer_reads_the_released_layout(options: dict[str, Any]):
    ours = bridge(modulated=True, **options)
    K, D = ours.codebook_size, ours.code_dim
    config, state = import_projector(released_bridge(ours), options.get('num_heads', 4))
    assert config['type'] == 'DiTBridge'
    loaded = PROJECTORS.build(config, codebook_size=K, code_dim=D).eval()
    loaded.load_state_dict(state)
    codebook_KD = torch.randn(K, D)
    assert torch.equal(loaded(codebook_KD), ours(codebook_KD))


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Tokenizer, Path]:
    """A tokenizer with a class-conditional bridge, and its weights as the release would save them."""
    half = dict(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=32)
    tokenizer = TOKENIZERS.build(
        dict(
            type='Tokenizer',
            encoder=dict(type='VQGANEncoder', **half),
            quantizer=dict(
                type='VectorQuantizer', codebook_size=16, code_dim=8, projector={**CONDITIONAL, 'output_scale': 0.1}
            ),
            decoder=dict(type='VQGANDecoder', **half),
        )
    )
    nn.init.normal_(let_modulate(tokenizer).eval().quantizer.embedding)
    rest = {key: value for key, value in tokenizer.state_dict().items() if 'projector' not in key}
    bridge_state = released_bridge(tokenizer.quantizer.projector)
    state = {f'quantize.qbridge.{key}': value for key, value in bridge_state.items()}
    path = tmp_path / '0400000.pt'
    torch.save({'model': renamed(rest, RELEASED_TOKENIZER_KEYS) | state}, path)
    return tokenizer, path


@pytest.mark.parametrize('label', [None, 2, CLASSES])
@torch.no_grad()
def test_converted_checkpoint_of_the_release_gives_our_pixels(
    checkpoint: tuple[Tokenizer, Path], tmp_path: Path, label: int | None
):
    tokenizer, path = checkpoint
    convert_file('fvq', path, tmp_path / 'converted', fold_label=label)
    loaded, images = Tokenizer.from_pretrained(tmp_path / 'converted'), random_images()
    read = CLASSES if label is None else label
    tokenizer.quantizer = tokenizer.quantizer.fold(label=read)
    expected = tokenizer(images)
    assert len(expected.codes.indices_BL.unique()) > 3
    assert torch.equal(loaded(images).codes.indices_BL, expected.codes.indices_BL)
    assert torch.equal(loaded(images).reconstruction, expected.reconstruction)
    if label is None:
        with pytest.raises(UserError, match='folding keeps one'):
            loaded.fold()
    else:
        assert torch.equal(loaded.fold()(images).reconstruction, loaded(images).reconstruction)


def test_fold_label_for_a_checkpoint_that_has_no_classes_is_refused(checkpoint: tuple[Tokenizer, Path]):
    state = torch.load(checkpoint[1])['model']
    bare = {key: value for key, value in state.items() if 'qbridge' not in key}
    with pytest.raises(UserError, match='no classes and takes no fold_label, got 3'):
        build_from_peer('fvq', bare, fold_label=3)
    with pytest.raises(UserError, match="importer of 'llamagen' has no option 'fold_label'"):
        build_from_peer('llamagen', bare, fold_label=3)


def test_in_training_each_image_is_quantized_with_the_codebook_of_its_class():
    quantizer = conditional_quantizer(class_dropout=0.0, fold_label=0).train()
    z_BDHW, labels_B = latents(), torch.tensor([3, 1])
    assert quantizer.takes_labels
    got = quantizer(z_BDHW, labels_B)
    for image, label in enumerate(labels_B.tolist()):
        alone = quantizer.fold(label=label)(z_BDHW[image : image + 1])
        assert torch.equal(got.codes.indices_BL[image], alone.codes.indices_BL[0])
        torch.testing.assert_close(got.z_q_BDHW[image], alone.z_q_BDHW[0])
    sum(got.losses.values()).backward()
    assert quantizer.embedding.grad.abs().sum() > 0
