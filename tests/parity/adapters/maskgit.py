"""MaskGIT in its three forms, imported as `tools/convert.py` does: training passes, gradients, and each step of sampling."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_generators.masked import MaskGIT
from fvq_generators.masked.draws import Draws, gumbel
from fvq_generators.masked.halton import halton_order
from fvq_generators.masked.networks import BERT
from fvq_generators.masked.schedules import SCHEDULES, masked_share, power
from fvq_generators.sampling import Sampler
from tests.tiny import build_from_peer

from ..case import Case


@contextmanager
def uniform_draws(*stored: Tensor) -> Iterator[None]:
    """Inside, `torch.rand` gives these tensors one after the other, and the shape asked for is theirs."""
    left = list(stored)

    def rand(*size: int, **options: Any) -> Tensor:
        assert left[0].shape == torch.Size(size), f'asked for {size}, the case stores {tuple(left[0].shape)}'
        return left.pop(0).clone()

    with patch('torch.rand', rand):
        yield
    assert not left, 'a draw was not used'


class StoredDraws(Draws):
    """The peer's: `(step, logits (B, N, V), rows (B, N), temperature) -> codes`, and Gumbel noise (S, B, L)."""

    def __init__(self, choose: Any, noise_SBL: Tensor, starts_B: Tensor | None = None) -> None:
        self.choose, self.noise_SBL, self.starts_B = choose, noise_SBL, starts_B

    def codes(self, step: int, part: int, logits_BNV: Tensor, rows_BN: Tensor, sampler: Sampler) -> Tensor:
        assert part == 0
        return self.choose(step, logits_BNV, rows_BN, sampler.temperature)

    def noise(self, step: int) -> Tensor:
        return self.noise_SBL[step]

    def starts(self) -> Tensor:
        return cast(Tensor, self.starts_B)


def take(values_BLx: Tensor, rows_BN: Tensor) -> Tensor:
    """The rows (B, N, ...) of (B, L, ...)."""
    return values_BLx[torch.arange(len(rows_BN))[:, None], rows_BN]


def images_of(fed_BL: Tensor, batch: int) -> Tensor:
    """The codes of each image in a pass: without those of guidance, or all alike in the first pass."""
    return fed_BL[:batch] if len(fed_BL) >= batch else fed_BL[:1].expand(batch, -1)


@contextmanager
def recorded(model: MaskGIT) -> Iterator[list[Tensor]]:
    """The codes that the model is fed in each pass, for all images but those of guidance."""
    fed: list[Tensor] = []
    embed = model.codes.forward

    def forward(indices_BL: Tensor) -> Tensor:
        fed.append(indices_BL)
        return embed(indices_BL)

    with patch.object(model.codes, 'forward', forward):
        yield fed


def without_dropout(model: MaskGIT) -> MaskGIT:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, 'dropout', None), float):
            cast(Any, module).dropout = 0.0
    return model


def by_name(model: MaskGIT) -> dict[str, Tensor]:
    return {name: cast(Tensor, parameter.grad) for name, parameter in model.named_parameters()}


# --- the original


def original(case: Case) -> dict[str, Tensor]:
    options, inputs = case.constructor, case.inputs
    K, classes = options['codebook_size'], options['num_class']
    model = build_from_peer(
        'maskgit', case.state, num_classes=classes, grid=grid_of(options['max_position_embeddings'] - 1)
    )
    assert isinstance(model.network, BERT)
    # Rows of the peer's vocabulary that no model reads, as it computes their logits too.
    bias = next(value for key, value in case.state.items() if key.endswith('mlm_bias/bias')).clone().requires_grad_()
    ids = inputs['ids']
    words = torch.cat([model.codes.table.weight[:-1], model.condition.table.weight, model.codes.table.weight[-1:]])
    words.retain_grad()
    x_BTD = words[ids]  # -1 is the last row
    x_BTD = model.network.output(model.network.hidden(x_BTD[:, 1:], x_BTD[:, :1]))
    logits = x_BTD @ words.T + torch.cat([model.head.bias, bias[K:]])
    ours = model.logits(ids[:, 1:].where(ids[:, 1:] >= 0, K), ids[:, 0] - K)
    torch.testing.assert_close(ours, logits[:, 1:, :K])
    (logits * inputs['G']).sum().backward()
    found = by_name(model)
    heads = options['num_attention_heads']
    got = {
        'logits': logits,
        'g_word': cast(Tensor, words.grad),
        'g_bias': torch.cat([found['head.bias'], cast(Tensor, bias.grad)[K:]]),
    }
    for name, path in case.description['gradients'].items():
        if name not in got:
            got[name] = gradient_of(path, found, heads)
    got |= schedules(case) | smoothing(case)
    for name, call in case.description['calls'].items():
        if name.startswith('gen_'):
            got |= decoded(case, model, call, name.removeprefix('gen_'))
    return got


def grid_of(length: int) -> tuple[int, int]:
    side = math.isqrt(length)
    return (side, side) if side * side == length else (1, length)


def gradient_of(path: str, found: dict[str, Tensor], heads: int) -> Tensor:
    """A gradient under flax's path, in its axes."""
    path = path.removeprefix('params/')
    if path.endswith('position_embeddings/embedding'):
        return found['network.positions']
    match = re.fullmatch(r'TransformerLayer_(\d+)/Attention_0/self_attention/(query|key|value)/(kernel|bias)', path)
    if match:
        part = {'kernel': 'weight', 'bias': 'bias'}[match[3]]
        qkv = found[f'network.blocks.{match[1]}.attention.qkv.{part}']
        one = qkv.chunk(3)[('query', 'key', 'value').index(match[2])]
        return (one.T if match[3] == 'kernel' else one).unflatten(-1, (heads, -1))
    for theirs, ours in (
        (r'TransformerLayer_(\d+)/Attention_0/self_attention/out', r'network.blocks.\1.attention.out'),
        (r'TransformerLayer_(\d+)/Attention_0/attention_output_ln', r'network.blocks.\1.attention_norm'),
        (r'TransformerLayer_(\d+)/Mlp_0/intermediate_output', r'network.blocks.\1.ffn.inner'),
        (r'TransformerLayer_(\d+)/Mlp_0/layer_output_ln', r'network.blocks.\1.ffn_norm'),
        (r'TransformerLayer_(\d+)/Mlp_0/layer_output', r'network.blocks.\1.ffn.outer'),
        (r'MlmLayer_0/mlm_dense', 'network.transform'),
        (r'MlmLayer_0/mlm_ln', 'network.transform_norm'),
        (r'Embed_0/embeddings_ln', 'network.norm'),
    ):
        layer, _, part = path.rpartition('/')
        if re.fullmatch(theirs, layer):
            value = found[f'{re.sub(theirs, ours, layer)}.{"bias" if part == "bias" else "weight"}']
            if part == 'kernel':
                value = value.T.unflatten(0, (heads, -1)) if layer.endswith('/out') else value.T
            return value
    raise KeyError(path)


def schedules(case: Case) -> dict[str, Tensor]:
    got = {}
    for name in case.outputs:
        if name.startswith('schedule_'):
            kind = name.removeprefix('schedule_')
            if kind.startswith('pow'):
                schedule = power(float(kind.removeprefix('pow').replace('_', '.')))
            else:
                schedule = SCHEDULES['linear' if kind == 'uniform' else kind]
            got[name] = masked_share(
                schedule, case.inputs['ratios'], case.description['calls']['schedule']['total_unknown']
            )
    return got


def smoothing(case: Case) -> dict[str, Tensor]:
    """The smoothed targets, as the gradient of the cross-entropy of even logits tells them."""
    if 'smoothed' not in case.outputs:
        return {}
    from fvq_generators.cross_entropy import chunked_cross_entropy

    call, ids = case.description['calls']['smoothing'], case.inputs['smooth_ids']
    K = call['num_classes']
    logits = torch.zeros(len(ids), K, requires_grad=True)
    loss = chunked_cross_entropy(logits, torch.eye(K), ids, label_smoothing=call['label_smoothing'])
    return {'smoothed': 1.0 / K - torch.autograd.grad(loss, logits)[0] * len(ids)}


def decoded(case: Case, model: MaskGIT, call: dict[str, Any], number: str) -> dict[str, Tensor]:
    """A call of the peer's `decode`."""
    K, ids = model.codes.vocab_size, case.inputs[call['inputs']].long()
    B = len(ids)
    first, total = call['start_iter'], call['num_iter']
    method = call['mask_scheduling_method']
    noise, confidence = case.inputs['gumbel_tokens'], case.inputs['gumbel_confidence']
    drawn: list[Tensor] = []

    def choose(step: int, logits_BNV: Tensor, rows_BN: Tensor, temperature: float) -> Tensor:
        codes_BN = (logits_BNV + take(noise[step][:, 1:], rows_BN)).argmax(-1)
        before_BL = images_of(fed[-1], B)
        drawn.append(torch.where(before_BL == K, before_BL.scatter(1, rows_BN, codes_BN), before_BL))
        return codes_BN

    known_BL = ids[:, 1:] >= 0
    options: dict[str, Any] = dict(steps=total, choice_temperature=call['choice_temperature'])
    unknown = int((~known_BL[0]).sum())  # the peer's "log" and "exp" count only what is to be drawn
    if not method.startswith('pow'):
        options['mask_schedule'] = 'linear' if method == 'uniform' else method
    plan = model.Sampling.of(options).plan(model.mask_schedule, unknown)[first:]
    if method.startswith('pow'):
        progress = torch.arange(first + 1, total + 1, dtype=torch.float64) / total
        shares = masked_share(power(float(method.removeprefix('pow'))), progress, unknown).tolist()
        plan = [replace(step, share=share) for step, share in zip(plan, shares, strict=True)]
    with recorded(model) as fed:
        codes = model.sample(
            ids[:, 0] - K,
            given=Codes(ids[:, 1:].clamp(min=0), model.layout),
            keep_BL=known_BL,
            plan=plan,
            draws=StoredDraws(choose, confidence[:, :, 1:]),
            **options,
        )
    classes = ids[:, :1]
    states = [torch.where(each == K, -1, each) for each in (images_of(each, B) for each in fed)]

    def whole(codes_BL: Tensor) -> Tensor:
        return torch.cat([classes, codes_BL], dim=1)

    masked = [(each < 0).sum(1) for each in states[1:]]
    return {
        f'gen_{number}': whole(codes.indices_BL),
        f'gen_sampled_{number}': torch.stack([whole(each) for each in drawn], dim=1),
        f'gen_fed_{number}': torch.stack([whole(each) for each in states]),
        f'gen_mask_len_{number}': torch.stack(
            [*masked, torch.ones_like(masked[-1])]
        ),  # it masks one behind the last too
    }


# --- TiTok's


def titok(case: Case) -> dict[str, Tensor]:
    options, inputs = case.constructor, case.inputs
    model = without_dropout(build_from_peer('titok-maskgit', case.state, heads=options['num_attention_heads']))
    model.label_smoothing, model.unmasked_weight = options['label_smoothing'], options['loss_weight_unmasked_token']
    model.condition.drop_rate = case.description['calls']['train']['cond_drop_prob']
    tokens, cond, K = inputs['tokens'], inputs['cond'], model.codes.vocab_size
    seen: list[Tensor] = []
    stored = [inputs[name] for name in ('mask_time', 'mask_order_rand', 'drop_rand')]
    with recorded(model) as fed, uniform_draws(*stored):
        loss = model.train().loss(Targets(Codes(tokens, model.layout)), cond)['cross_entropy']
    loss.backward()
    masked = fed[0]
    masks = masked == K
    with uniform_draws(inputs['drop_rand']):
        logits = model.logits(masked, cond)
    correct = ((logits.argmax(-1) == tokens) & masks).sum(1) / masks.sum(1)
    model.eval()
    with torch.no_grad():
        seen = [model.logits(masked, each) for each in (cond, model.condition.null(cond))]
    got = dict(masked_tokens=masked, masks=masks.long(), logits=logits, loss=loss, correct_tokens=correct.mean())
    got |= dict(eval_logits=seen[0], eval_logits_null=seen[1])
    found = by_name(model)
    for name, path in case.description['gradients'].items():
        got[name] = titok_gradient(path, found, model)
    for name, call in case.description['calls'].items():
        if name.startswith('gen_'):
            got |= titok_generated(case, model, call, name.removeprefix('gen_'))
    return got


def titok_gradient(path: str, found: dict[str, Tensor], model: MaskGIT) -> Tensor:
    """A gradient under the peer's key."""
    from fvq_generators.interop.titok_maskgit import BERT_RULES, BOTH, UVIT_RULES

    path = path.removeprefix('model.')
    if re.fullmatch(r'embeddings\.(word_embeddings\.)?weight', path):
        return torch.cat([found['codes.table.weight'], found['condition.table.weight']])
    if path in ('embeddings.position_embeddings.weight', 'pos_embed'):
        return (
            found['network.positions'].view(1, -1, model.network.dim)
            if path == 'pos_embed'
            else found['network.positions']
        )
    part = re.fullmatch(r'(encoder\.layer\.\d+\.attention\.self\.)(query|key|value)(\..*)', path)
    half = len(model.blocks) // 2
    key = f'{part[1]}qkv{part[3]}' if part else path
    for theirs, first in (('in_blocks', 0), ('out_blocks', half + 1)):
        key = re.sub(rf'^{theirs}\.(\d+)', lambda match, first=first: f'blocks.{first + int(match[1])}', key)
    key = re.sub(r'^mid_block', f'blocks.{half}', key)
    for pattern, replacement in (*(BERT_RULES if isinstance(model.network, BERT) else UVIT_RULES), *BOTH):
        if re.fullmatch(pattern, key):
            value = found[re.sub(pattern, replacement, key)]
            return value.chunk(3)[('query', 'key', 'value').index(part[2])] if part else value
    raise KeyError(path)


def titok_generated(case: Case, model: MaskGIT, call: dict[str, Any], number: str) -> dict[str, Tensor]:
    """A call of the peer's `generate`; its "constant" and "linear" scales are of c + s (c - u), ours of u + s (c - u)."""
    decay, scale = call['guidance_decay'], call['guidance_scale']
    options: dict[str, Any] = dict(
        steps=call['num_sample_steps'],
        choice='logit',
        choice_temperature=call['randomize_temperature'],
        cfg_scale=scale if decay == 'power-cosine' else 1.0 + scale,
        cfg_schedule={'power-cosine': 'cosine'}.get(decay, decay),
        cfg_power=call['guidance_scale_pow'] if decay == 'power-cosine' else 1.0,
    )
    if call['softmax_temperature_annealing']:
        options |= dict(temperature=1.3, final_temperature=0.5)
    uniform_tokens, K = case.inputs['uniform_tokens'], model.codes.vocab_size

    def choose(step: int, logits_BNV: Tensor, rows_BN: Tensor, temperature: float) -> Tensor:
        return (logits_BNV + temperature * gumbel(take(uniform_tokens[step], rows_BN))).argmax(-1)

    draws = StoredDraws(choose, gumbel(case.inputs['uniform_confidence']))
    with recorded(model) as fed:
        codes = model.sample(case.inputs['cond'], draws=draws, **options).indices_BL
    states = torch.stack([*(images_of(each, len(codes)) for each in fed[1:]), codes])
    return {
        f'gen_{number}': codes,
        f'gen_states_{number}': states,
        f'gen_masked_{number}': (states == K).sum(-1),
    }


# --- Halton-MaskGIT's


def halton(case: Case) -> dict[str, Tensor]:
    options, inputs = case.constructor, case.inputs
    train = case.description['calls']['train']
    model = without_dropout(build_from_peer('halton-maskgit', case.state, heads=options['heads']))
    model.mask_schedule, model.condition.drop_rate = train['sched_mode'], train['drop_label']
    tokens, cond, K = inputs['tokens'], inputs['cond'], model.codes.vocab_size
    side = tokens.shape[-1]
    stored = [inputs['mask_time'], inputs['mask_rand'].flatten(1), inputs['drop_rand']]
    with recorded(model) as fed, uniform_draws(*stored):
        loss = model.train().loss(Targets(Codes(tokens.flatten(1), model.layout)), cond)['cross_entropy']
    loss.backward()
    with uniform_draws(inputs['drop_rand']):
        logits = model.logits(fed[0], cond)
    masked, order = fed[0].view_as(tokens), halton_order(model.layout)
    got = dict(masked_tokens=masked, masks=(masked == K).long(), logits=logits, loss=loss)
    got['halton_order'] = torch.stack([order // side, order % side], dim=1)
    found = by_name(model)
    for name, path in case.description['gradients'].items():
        got[name] = halton_gradient(path, found)
    model.eval()
    for name, call in case.description['calls'].items():
        if name.startswith('gen_'):
            got |= halton_generated(case, model, call, name.removeprefix('gen_'))
    return got


def halton_gradient(path: str, found: dict[str, Tensor]) -> Tensor:
    """A gradient under the peer's key."""
    from fvq_generators.interop.halton_maskgit import ORDERS, RULES

    joined = re.fullmatch(r'(.*\.)(attn\.w[qkv]|ff\.w[13])\.weight', path)
    key = path
    if joined:
        key = f'{joined[1]}{"attn.wqkv" if "attn" in joined[2] else "ff.w13"}.weight'
    for pattern, replacement in RULES:
        if re.fullmatch(pattern, key):
            value = found[re.sub(pattern, replacement, key)]
            break
    else:
        raise KeyError(path)
    if joined:
        names = ('attn.wq', 'attn.wk', 'attn.wv') if 'attn' in joined[2] else ('ff.w1', 'ff.w3')
        return value.chunk(len(names))[names.index(joined[2])]
    if '.mlp.1.' in path:
        order = ORDERS[2 if path.startswith('last_norm') else 6]
        chunks = value.chunk(len(order))
        return torch.cat([chunks[order.index(number)] for number in range(len(order))])
    return value


def halton_generated(case: Case, model: MaskGIT, call: dict[str, Any], number: str) -> dict[str, Tensor]:
    """A call of one of the peer's samplers; its temperature multiplies logits, and w means c + w (c - u)."""
    uniform_SBL, side = case.inputs[call['uniforms']], case.inputs['tokens'].shape[-1]

    def choose(step: int, logits_BNV: Tensor, rows_BN: Tensor, temperature: float) -> Tensor:
        cumulative = logits_BNV.softmax(-1).double().cumsum(-1)
        wanted = take(uniform_SBL[step], rows_BN).double()[..., None]
        return torch.searchsorted(cumulative, wanted, right=True)[..., 0].clamp(max=cumulative.shape[-1] - 1)

    options: dict[str, Any] = dict(steps=call['step'], cfg_scale=1.0 + call['w'])
    plan, noise_SBL = None, torch.zeros_like(uniform_SBL)
    if call['sampler'] == 'ConfidenceSampler':
        assert call['randomize'] in ('linear', 'no')
        options |= dict(order='redraw', mask_schedule=call['sched_mode'], cfg_schedule='linear')
        options |= dict(temperature=1.0 / call['sm_temp'])
        options |= dict(choice_temperature=call['r_temp'] if call['randomize'] == 'linear' else 0.0)
        noise_SBL = case.inputs.get('gumbel', noise_SBL)
    else:
        low, high = call['sm_temp_min'], call['sm_temp_max']
        options |= dict(order='halton', mask_schedule='arccos', random_start=call['randomize'])
        options |= dict(temperature=1.0 / low, final_temperature=1.0 / high, annealing='inverse')
        options |= dict(hot_steps=call['temp_warmup'], top_k=max(0, call['top_k']))
        if call['temp_pow'] != 1:
            plan = model.Sampling.of(options | dict(hot_steps=0)).plan(model.mask_schedule, model.layout.length)
            plan = [
                replace(
                    step, temperature=step.temperature ** call['temp_pow'] * (2.0 if at < call['temp_warmup'] else 1.0)
                )
                for at, step in enumerate(plan)
            ]
    draws = StoredDraws(choose, noise_SBL, case.inputs.get('roll'))
    with recorded(model) as fed:
        codes = model.sample(case.inputs['cond'], plan=plan, draws=draws, **options).indices_BL
    return {
        f'gen_{number}': codes.view(-1, side, side),
        f'gen_fed_{number}': torch.stack([images_of(each, len(codes)) for each in fed]).unflatten(-1, (side, side)),
    }
