"""Autoregressive transformers of one code a position, imported as `tools/convert.py` does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn

from fvq_core.codes import Codes, Targets
from fvq_generators.cached_generator import CachedGenerator
from fvq_generators.layers import Attention, ClassEmbedding
from fvq_generators.min_gpt import MinGPT
from fvq_generators.parallel_decoding import step_sizes
from fvq_generators.sampling import Sampler
from tests.tiny import build_from_peer

from ..case import Case


def build(case: Case, peer: str, **options: Any) -> CachedGenerator:
    """The peer's model with its own sizes; the draws of dropout are not in a case."""
    for name, rate in case.constructor.items():
        if re.search(r'^(?!class_).*(pdrop|dropout_p|drop_path|token_drop|attn_drop)|^dropout$', name):
            assert rate == 0.0, f'{name}: the draws of dropout are not in a case'
    side = math.isqrt(case.inputs['tokens'].shape[1])
    generator = build_from_peer(peer, case.state, grid=(side, side), **options)
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, Attention):
            module.dropout = 0.0
    return cast(CachedGenerator, generator)


# torch's functions, and the input of a case that tells what they gave the peer.
DRAWS = {'bernoulli': 'keep', 'randint_like': 'replacement', 'rand': 'drop_rand', 'rand_like': 'drop_rand'}


@contextmanager
def case_draws(case: Case) -> Iterator[None]:
    """Inside, torch's functions give what they gave the peer."""
    with ExitStack() as stack:
        for name, key in DRAWS.items():
            if key in case.inputs:
                stored = case.inputs[key]
                stack.enter_context(patch.object(torch, name, lambda *size, stored=stored, **options: stored.clone()))
        yield


def loss_and_gradients(
    case: Case, generator: CachedGenerator, cond: Tensor, tensors: Mapping[str, str]
) -> dict[str, Tensor]:
    """`loss` with its gradients; `tensors` are ours by the peer's names of them in `gradients`."""
    generator.train()
    with case_draws(case):
        loss = generator.loss(Targets(Codes(case.inputs['tokens'], generator.layout)), cond)['cross_entropy']
    loss.backward()
    parameters = dict(generator.named_parameters())
    got = {'loss': loss}
    for name, peers in case.description['gradients'].items():
        got[name] = gradient(peers, parameters, tensors)
    return got


def gradient(peers: str, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, str]) -> Tensor:
    """The gradient of the peer's tensor of that name."""
    for pattern, ours in tensors.items():
        if re.fullmatch(pattern, peers):
            name, _, part = re.sub(pattern, ours, peers).partition(':')
            found = cast(Tensor, parameters[name].grad)
            return found.chunk(3)[int(part)] if part else found
    raise AssertionError(f'the adapter knows no {peers}')


def cached_logits(generator: CachedGenerator, cond: Tensor, tokens_BL: Tensor) -> Tensor:
    """Logits of every code, read one by one through the cache."""
    cache = generator.new_cache(len(cond))
    found = [generator.prefill(cond, cache)]
    for number in range(tokens_BL.shape[1] - 1):
        found.append(generator.step(tokens_BL[:, number], cache, generator.condition.tokens + number))
    return torch.stack(found, dim=1)


class Replay:
    """Chooses with the uniform numbers of a case in place of a seed's."""

    def __init__(self, sampler: Sampler, uniforms_BL: Tensor | None) -> None:
        self.sampler, self.uniforms_BL, self.seen = sampler, uniforms_BL, cast(list[Tensor], [])

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        if self.uniforms_BL is not None:
            uniform_B = self.uniforms_BL[:, len(self.seen)].double()
        self.seen.append(logits_BV)
        return self.sampler(logits_BV, uniform_B)


MIN_GPT = {
    r'tok_emb\.weight': 'code_embedding.weight',
    r'pos_emb': 'position_embedding',
    r'blocks\.(\d+)\.attn\.query\.(weight|bias)': r'blocks.\1.attention.qkv.\2:0',
    r'blocks\.(\d+)\.attn\.key\.(weight|bias)': r'blocks.\1.attention.qkv.\2:1',
    r'blocks\.(\d+)\.attn\.value\.(weight|bias)': r'blocks.\1.attention.qkv.\2:2',
    r'blocks\.(\d+)\.attn\.proj\.(weight|bias)': r'blocks.\1.attention.out.\2',
    r'blocks\.(\d+)\.mlp\.([02])\.(weight|bias)': r'blocks.\1.ffn.\2.\3',
    r'blocks\.(\d+)\.ln1\.(weight|bias)': r'blocks.\1.attention_norm.\2',
    r'blocks\.(\d+)\.ln2\.(weight|bias)': r'blocks.\1.ffn_norm.\2',
    r'ln_f\.(weight|bias)': r'norm.\1',
    r'head\.weight': 'head.weight',
}


def min_gpt(case: Case) -> dict[str, Tensor]:
    options, tokens = case.constructor, case.inputs['tokens']
    assert options['n_unmasked'] <= 1, 'only a causal mask is modelled'
    assert options['sos_token'] == 0
    kind = dict(num_classes=options['vocab_size']) if not options['unconditional'] else {}
    peer = 'taming-gpt-unconditional' if options['unconditional'] else 'taming-gpt'
    generator = cast(MinGPT, build(case, peer, heads=options['n_head'], **kind))
    generator.code_dropout = 1 - options['pkeep']
    cond = case.inputs['cond'][:, 0]
    got = loss_and_gradients(case, generator, cond, MIN_GPT)
    got['g_pos'] = got['g_pos'][None]
    with torch.no_grad():
        with case_draws(case):
            got['logits'] = generator.logits(generator.features(generator.inputs(tokens), cond))
        generator.eval()
        got['cached_logits'] = cached_logits(generator, cond, tokens)
        for name, call in case.description['calls'].items():
            got[name] = min_gpt_sample(case, generator, cond, name, call)
    return got


def min_gpt_sample(case: Case, generator: MinGPT, cond: Tensor, name: str, call: Mapping[str, Any]) -> Tensor:
    """A call of `sample`, which continues given codes (here those of the answer), or of `sample_with_past`."""
    greedy = not call.get('sample_logits', call.get('sample'))
    filters = {} if call['top_k'] is None else dict(top_k=call['top_k'], top_p=call.get('top_p') or 1.0)
    pick = Replay(
        Sampler(0.0 if greedy else call['temperature'], **filters), case.inputs.get(str(call.get('uniforms')))
    )
    count, kept = len(cond), torch.arange(generator.layout.length) < call.get('given', 0)
    return generator.sample(
        cond,
        given=Codes(case.outputs[name] * kept, generator.layout),
        keep_BL=kept.expand(count, -1),
        pick=pick,
    ).indices_BL


IBQ = {
    r'tok_emb\.weight': 'code_embedding.weight',
    r'class_emb\.embedding_table\.weight': 'condition.table.weight',
    r'blocks\.(\d+)\.attention\.wqkv\.weight': r'blocks.\1.attention.qkv.weight',
    r'blocks\.(\d+)\.attention\.wo\.weight': r'blocks.\1.attention.out.weight',
    r'blocks\.(\d+)\.feed_forward\.w2\.weight': r'blocks.\1.ffn.out.weight',
    r'blocks\.(\d+)\.(attention|ffn)_norm\.weight': r'blocks.\1.\2_norm.weight',
    r'blocks\.(\d+)\.ada_lin\.1\.(weight|bias)': r'blocks.\1.modulation.linear.\2',
    r'head_nm\.rmsnorm\.weight': 'norm.norm.weight',
    r'head_nm\.ada_lin\.1\.(weight|bias)': r'norm.modulation.linear.\1',
    r'head\.weight': 'head.weight',
}


def ibq(case: Case) -> dict[str, Tensor]:
    options, tokens, cond = case.constructor, case.inputs['tokens'], case.inputs['cond'][:, 0]
    generator = build(case, 'ibq-gpt', heads=options['n_head'])
    got = loss_and_gradients(case, generator, cond, IBQ)
    with case_draws(case), torch.no_grad():
        got['label_after_drop'] = cast(ClassEmbedding, generator.condition).drop(cond)
        got['logits'] = generator.logits(generator.features(tokens[:, :-1], cond))
    generator.eval()
    both = torch.cat([cond, cast(ClassEmbedding, generator.condition).null(cond)])
    with torch.no_grad():
        got['eval_logits'] = generator.logits(generator.features(tokens[:, :-1], cond))
        got['cached_logits'] = cached_logits(generator, both, tokens.repeat(2, 1))
    for name, call in case.description['calls'].items():
        got.update(guided_sample(case, generator, cond, name, call))
    return got


def guided_sample(
    case: Case, generator: CachedGenerator, cond: Tensor, name: str, call: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Codes, and guided logits divided by the temperature, of a call of the peer's sampling."""
    temperature = call['temperature']
    sampler = Sampler(temperature if call['sample_logits'] else 0.0, call['top_k'], call['top_p'])
    pick = Replay(sampler, case.inputs.get(str(call.get('uniforms'))))
    codes = generator.sample(cond, cfg_scale=call['cfg_scale'], pick=pick)
    return {name: codes.indices_BL, name.replace('gen_', 'gen_logits_'): torch.stack(pick.seen, 1) / temperature}


VITVQ = {
    r'tok_emb_code\.weight': 'code_embedding.weight',
    r'tok_emb_cond\.weight': 'condition.table.weight',
    r'pos_emb_code': 'position_embedding',
    r'pos_emb_cond': 'condition_position_embedding',
    r'blocks\.(\d+)\.attn\.time_mix': r'blocks.\1.token_shift.mix_D',
    r'blocks\.(\d+)\.mlp\.p0\.(weight|bias)': r'blocks.\1.ffn.0.\2',
    r'blocks\.(\d+)\.mlp\.p1\.(weight|bias)': r'blocks.\1.ffn.2.\2',
    r'layer_norm\.(weight|bias)': r'norm.\1',
    **MIN_GPT,
}


def vitvq(case: Case) -> dict[str, Tensor]:
    options, tokens, cond = case.constructor, case.inputs['tokens'], case.inputs['cond']
    cond = cond[:, 0] if options['cond_num_tokens'] == 1 else cond
    generator = build(case, 'vitvq-gpt', heads=options['n_heads'])
    T = generator.condition.tokens
    got = loss_and_gradients(case, generator, cond, VITVQ)
    for name, peers in case.description['gradients'].items():
        got[name] = got[name].view(case.state[peers].shape)
    generator.eval()
    with torch.no_grad():
        got['logits'] = generator.logits(generator.features(tokens[:, :-1], cond)[:, T - 1 :])
        got['greedy'] = generator.sample(cond, temperature=0).indices_BL
        got['greedy_logits'] = generator.logits(generator.features(got['greedy'][:, :-1], cond)[:, T - 1 :])
        got['first_step_logits'] = generator.prefill(cond, generator.new_cache(len(cond)))
    return got


RANDAR = {
    r'pos_instruct_embeddings': 'instruction_1D',
    r'tok_embeddings\.weight': 'code_embedding.weight',
    r'cls_embedding\.embedding_table\.weight': 'condition.table.weight',
    r'layers\.(\d+)\.attention\.wqkv\.weight': r'blocks.\1.attention.qkv.weight',
    r'layers\.(\d+)\.attention\.wo\.weight': r'blocks.\1.attention.out.weight',
    r'layers\.(\d+)\.feed_forward\.w2\.weight': r'blocks.\1.ffn.out.weight',
    r'layers\.(\d+)\.(attention|ffn)_norm\.weight': r'blocks.\1.\2_norm.weight',
    r'norm\.weight': 'norm.weight',
    r'output\.weight': 'head.weight',
}


def randar(case: Case) -> dict[str, Tensor]:
    options, tokens, cond, order = case.constructor, *(case.inputs[name] for name in ('tokens', 'cond', 'token_order'))
    assert options['cls_token_num'] == 1
    generator: Any = build(case, 'randar', heads=options['n_head'], cond_dropout=options['class_dropout_prob'])
    got = {}
    generator.train()
    with case_draws(case):
        loss = generator.loss(Targets(Codes(tokens, generator.layout)), cond, order)['cross_entropy']
        loss.backward()
        got['label_after_drop'] = generator.condition.drop(cond)
        with torch.no_grad():
            got['logits'] = generator.logits(generator.features(tokens, cond, order))
    parameters = dict(generator.named_parameters())
    for name, peers in case.description['gradients'].items():
        got[name] = gradient(peers, parameters, RANDAR)
    generator.eval()
    with torch.no_grad():
        got['eval_logits'] = generator.logits(generator.features(tokens, cond, order))
        got['instruction_tokens'] = generator.instructions(order)[0]
    got.update(loss=loss, freqs_cis=generator.rotations)
    for name, call in case.description['calls'].items():
        got.update(randar_sample(case, generator, name, call))
    return got


def randar_sample(case: Case, generator: Any, name: str, call: Mapping[str, Any]) -> dict[str, Tensor]:
    """Codes, logits, codes of each step and tokens of each pass, of a call of the peer's `generate`."""
    first, last = call['cfg_scales']
    assert first in (1.0, last), 'guidance is constant, or rises from none'
    order, seen, fed = case.inputs['token_order'], [], []
    stored = case.inputs.get(str(call.get('uniforms')), torch.zeros(order.shape))

    def pick(logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        seen.append(logits_NV.view(len(order), -1, logits_NV.shape[-1]))
        return Sampler(call['temperature'], call['top_k'], call['top_p'])(logits_NV, uniform_N)

    def read(x_BLD: Tensor, rotations: Tensor, cache: Any, position: int) -> Tensor:
        fed.append((x_BLD.shape[1], position))
        return type(generator).read(generator, x_BLD, rotations, cache, position)

    with (
        patch('fvq_generators.randar.uniforms', lambda seeds, draws: torch.cat([stored, stored], 1).double()),
        patch.object(generator, 'read', read),
    ):
        codes = generator.sample(
            case.inputs['cond'],
            order_BL=order,
            steps=call['num_inference_steps'],
            cfg_scale=last,
            cfg_schedule='constant' if first == last else 'linear',
            pick=pick,
        )
    return {
        name: codes.indices_BL,
        name.replace('gen_', 'gen_logits_'): torch.cat(seen, dim=1),
        name.replace('gen_', 'gen_steps_'): torch.tensor([logits.shape[1] for logits in seen]),
        name.replace('gen_', 'gen_inputs_'): torch.tensor(fed),
    }


def randar_steps(case: Case) -> dict[str, Tensor]:
    pairs = case.constructor['pairs_(block_size,num_inference_steps)']
    return {f'steps_{length}_{steps}': torch.tensor(step_sizes(length, steps)) for length, steps in pairs}


RAR_TENSORS = {
    r'cls_token': 'start_D',
    r'pos_embed': 'position_embedding',
    r'timesteps_embeddings': 'place_embedding',
    r'blocks\.(\d+)\.attn\.qkv\.(weight|bias)': r'blocks.\1.attention.qkv.\2',
    r'blocks\.(\d+)\.attn\.([qk])_norm\.(weight|bias)': r'blocks.\1.attention.\2_norm.\3',
    r'adaln_before_head\.adaLN_modulation\.1\.(weight|bias)': r'norm.modulation.linear.\1',
    r'lm_head\.(weight|bias)': r'head.\1',
}


def rar(case: Case) -> dict[str, Tensor]:
    options, tokens, cond, order = case.constructor, *(case.inputs[name] for name in ('tokens', 'cond', 'orders'))
    rate = case.description['calls']['train']['cond_drop_prob']
    generator: Any = build(case, 'rar', heads=options['num_attention_heads'], cond_dropout=rate)
    K, ordered = options['codebook_size'], tokens.gather(1, order)
    generator.train()
    with case_draws(case):
        loss = generator.loss(Targets(Codes(tokens, generator.layout)), cond, order)['cross_entropy']
        loss.backward()
        dropped = generator.condition.drop(cond)
        with torch.no_grad():
            logits = generator.logits(generator.features(ordered, cond, order)[:, 1:])
    got = {'loss': loss, 'logits': logits, 'cond_after_drop': dropped + K + 1, 'labels': ordered}
    got['correct_tokens'] = (logits[:, :-1].argmax(-1) == ordered).float().mean()
    parameters = dict(generator.named_parameters())
    words = [parameters[name].grad for name in ('code_embedding.weight', 'condition.table.weight')]
    targets = parameters['target_embedding'].grad
    for name, peers in case.description['gradients'].items():
        shape = case.outputs[name].shape
        if peers == 'embeddings.weight':
            got[name] = torch.cat([words[0], torch.zeros_like(words[0][:1]), words[1]])
        elif peers == 'target_aware_pos_embed':
            got[name] = pad_rows(torch.cat([torch.zeros_like(targets[:2]), targets]), shape)
        else:
            got[name] = pad_rows(gradient(peers, parameters, RAR_TENSORS), shape)
    generator.eval()
    with torch.no_grad():
        for name, each in (('eval_logits', cond), ('eval_logits_null', generator.condition.null(cond))):
            got[name] = generator.logits(generator.features(tokens, each)[:, 1:])
    for name, call in case.description['calls'].items():
        if name != 'train':
            got.update(rar_sample(case, generator, cond, name, call))
    return got


def pad_rows(gradient_ND: Tensor, shape: torch.Size) -> Tensor:
    """A table's gradient in the peer's shape, whose rows behind it are not used."""
    missing = shape.numel() - gradient_ND.numel()
    return torch.cat([gradient_ND.flatten(), gradient_ND.new_zeros(max(0, missing))])[: shape.numel()].view(shape)


def rar_sample(
    case: Case, generator: CachedGenerator, cond: Tensor, name: str, call: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Codes, and guided logits divided by the temperature; a power of 0 is constant guidance, a scale of 0 none."""
    temperature, power = call['randomize_temperature'], call['guidance_scale_pow']
    pick = Replay(Sampler(temperature), case.inputs[call['uniforms']])
    schedule = dict(cfg_power=power) if power else dict(cfg_schedule='constant')
    codes = generator.sample(cond, cfg_scale=call['guidance_scale'] or 1.0, pick=pick, **schedule)
    return {name: codes.indices_BL, name.replace('gen_', 'gen_logits_'): torch.stack(pick.seen, 1) / temperature}
