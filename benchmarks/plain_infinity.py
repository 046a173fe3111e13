"""A plain loop that samples Infinity without a cache: `sampling_var.py` measures ours beside it."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.sampling_autoregressive import guided, plain_rotate
from fvq_core.config.read import load_config
from fvq_core.registry import GENERATORS, QUANTIZERS
from fvq_generators import Infinity
from fvq_generators.layers import CosineAttention, Text
from fvq_generators.sampling import draw, filter_logits
from fvq_generators.scale_decoding import ScaleSampling


def build_infinity(path: str, small: bool, device: torch.device, dtype: torch.dtype) -> tuple[Infinity, dict[str, Any]]:
    """The generator of a config with random weights, which cost the same, bound to a quantizer, and how it samples."""
    cfg = load_config(path)
    if small:
        cfg.model.generator.update(Infinity.smoke(cfg.model.generator))
    torch.manual_seed(0)
    with torch.device(device):
        generator: Infinity = GENERATORS.build(dict(cfg.model.generator, gate_init=1.0, head_init=10.0))
    quantizer = load_config('configs/baselines/infinity_d32.py').model.tokenizer.quantizer
    quantizer.update(scales=[height for height, _ in generator.pyramid.scales])
    quantizer.quantizer.update(codebook_size=2**generator.code_dim)
    generator.bind(QUANTIZERS.build(quantizer).eval().to(device))
    return generator.to(dtype).eval(), cfg.default_hooks.report.sampling


class PlainInfinity:
    """To draw a scale it reads all scales before it again, what modulates the blocks, and keys and values of the text.

    Guidance reads the whole batch twice through the head and combines the logits.
    """

    def __init__(self, generator: Infinity, sampling: ScaleSampling) -> None:
        self.generator, self.sampling = generator, sampling

    def attend(self, module: CosineAttention, x: Tensor, mask: Tensor, rotations: Tensor) -> Tensor:
        assert module.log_scale_H is not None
        bias = torch.cat([module.q_bias, torch.zeros_like(module.q_bias), module.v_bias])
        q, k, v = F.linear(x, module.qkv.weight, bias).view(*x.shape[:2], 3, module.heads, -1).unbind(2)
        scale = module.log_scale_H.clamp(max=math.log(100)).exp()[:, None]
        q, k = F.normalize(q.float(), dim=-1) * scale, F.normalize(k.float(), dim=-1)
        q, k = plain_rotate(q, rotations), plain_rotate(k, rotations)
        q, k, v = (part.to(v.dtype).transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return module.out(out.transpose(1, 2).flatten(2))

    def block(self, block: Any, x: Tensor, cond: Tensor, text: Text, mask: Tensor, rotations: Tensor) -> Tensor:
        shared = self.generator.shared_modulation
        parts = block.modulation(cond if shared is None else shared(cond))
        gate1, gate2, scale1, scale2, shift1, shift2 = parts.unbind(2)
        h = F.layer_norm(x, x.shape[-1:], eps=block.attention_norm.eps) * (1 + scale1) + shift1
        x = x + gate1 * self.attend(block.attention, h, mask, rotations)
        x = x + block.cross_attention(block.cross_norm(x), text)
        h = F.layer_norm(x, x.shape[-1:], eps=block.ffn_norm.eps) * (1 + scale2) + shift2
        return x + gate2 * block.ffn.outer(F.gelu(block.ffn.inner(h), approximate='tanh'))

    @torch.no_grad()
    def sample(self, captions: Tensor, uniforms_BL: Tensor) -> Tensor:
        generator, B, device = self.generator, len(captions), captions.device
        scales, lengths, slots = generator.pyramid.scales, generator.pyramid.lengths, generator.layout.slots
        codebook, settings = generator.quantizer.codebook(), self.sampling
        cond, text = generator.conditions(captions, None, guided=True)
        assert text is not None
        assert generator.rotations is not None
        scale_of_L = torch.arange(len(scales), device=device).repeat_interleave(torch.tensor(lengths, device=device))
        total = torch.zeros(B, generator.code_dim, *scales[-1], device=device)
        inputs, bits, end = torch.empty(2 * B, 0, generator.code_dim, device=device), [], 0
        for number, (size, length) in enumerate(zip(scales, lengths, strict=True)):
            start, end = end, end + length
            mask, rotations = scale_of_L[:end, None] >= scale_of_L[:end], generator.rotations[:end]
            x = generator.tokens(inputs, cond)
            for block in generator.blocks:
                x = self.block(block, x, cond, text, mask, rotations)
            logits = generator.logits(generator.norm(x, cond)[:, start:])
            logits = guided(logits, settings.scale_at(number, len(scales))).flatten(0, 2) / settings.temperature
            logits = filter_logits(logits, settings.top_k, settings.top_p)
            uniform = uniforms_BL[:, start * slots : end * slots].flatten()
            bits.append(draw(logits, uniform).view(B, -1))
            code = codebook[bits[-1]].view(B, length, -1).transpose(1, 2).unflatten(2, size)
            total, following = generator.quantizer.advance(total, code, number)
            inputs = torch.cat([inputs, following.flatten(2).transpose(1, 2).repeat(2, 1, 1)], 1)
        return torch.cat(bits, 1)
