"""The U-Net of guided-diffusion and latent diffusion, written from their papers and the names in their files: what the
importers are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A residual block that may halve or double the sides."""

    def __init__(self, width: int, out: int, time: int, scale_shift: bool, resize: float = 1.0) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, out * (1 + scale_shift)))
        convolution = nn.Conv2d(out, out, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, out), nn.SiLU(), nn.Identity(), convolution)
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        self.scale_shift, self.resize = scale_shift, resize

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        norm, act, convolution = self.in_layers
        h = convolution(resized(act(norm(x)), self.resize))
        told = self.emb_layers(time)[..., None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + told)
        return self.skip_connection(resized(x, self.resize)) + h


def resized(x: Tensor, factor: float) -> Tensor:
    if factor == 0.5:
        return F.avg_pool2d(x, 2)
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if factor == 2.0 else x


class Resize(nn.Module):
    """A convolution that halves or doubles the sides, under the name that it has in the files."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        setattr(self, name, nn.Conv2d(width, width, 3, 2 if name == 'op' else 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x if self.name == 'op' else resized(x, 2.0))


class HeadByHead(nn.Module):
    """Self-attention of ADM, whose map's rows are queries, keys and values of one head, then of the next; or, in the new
    order, all queries first."""

    def __init__(self, width: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.norm, self.heads, self.new_order = nn.GroupNorm(32, width), heads, new_order
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        rows = self.qkv(self.norm(flat))
        if self.new_order:
            heads = zip(*(part.chunk(self.heads, 1) for part in rows.chunk(3, 1)), strict=True)
        else:
            heads = (head.chunk(3, 1) for head in rows.chunk(self.heads, 1))
        mixed = [attended(*(part.transpose(1, 2) for part in head)).transpose(1, 2) for head in heads]
        return (flat + self.proj_out(torch.cat(mixed, 1))).view_as(x)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


class Attention(nn.Module):
    """Attention of latent diffusion to a context, or to itself."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, width, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        heads = zip(*(part.chunk(self.heads, -1) for part in parts), strict=True)
        return self.to_out(torch.cat([attended(*head) for head in heads], -1))


class Gated(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * out)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))


class Layer(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width, heads), Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff.net(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width: int, context: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, 1e-6)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(Layer(width, context, heads) for _ in range(depth))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for layer in self.transformer_blocks:
            h = layer(h, context)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class OpenAIUNet(nn.Module):
    """Their U-Net, and if `context` is 0 its table of classes.

    Args:
        widths: Channels of the levels.
        attends: Levels with attention.
        head_width: Channels of a head; or, if `heads` is given, so many heads everywhere.
        context: Channels of what it attends to.
        new_order: See `HeadByHead`.
        inputs: Channels of an image.
        model_width: Channels of the time's sines and cosines, if not those of the first level.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64),
        blocks: int = 1,
        attends: Sequence[int] = (1,),
        head_width: int = 16,
        heads: int | None = None,
        out: int = 3,
        scale_shift: bool = False,
        residual_sampling: bool = False,
        context: int = 0,
        depth: int = 1,
        classes: int = 5,
        new_order: bool = False,
        inputs: int = 3,
        model_width: int | None = None,
    ) -> None:
        super().__init__()
        self.width, levels = model_width or widths[0], len(widths)
        time = 4 * self.width
        self.time_embed = nn.Sequential(nn.Linear(self.width, time), nn.SiLU(), nn.Linear(time, time))
        if not context:
            self.label_emb = nn.Embedding(classes, time)

        def mixer(width: int) -> nn.Module:
            count = heads or width // head_width
            return SpatialTransformer(width, context, count, depth) if context else HeadByHead(width, count, new_order)

        def resize(width: int, up: bool) -> nn.Module:
            if residual_sampling:
                return Residual(width, width, time, scale_shift, 2.0 if up else 0.5)
            return Resize(width, 'conv' if up else 'op')

        skips, now = [widths[0]], widths[0]
        down: list[list[nn.Module]] = [[nn.Conv2d(inputs, widths[0], 3, padding=1)]]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                down.append([Residual(now, width, time, scale_shift), *([mixer(width)] if level in attends else [])])
                now = width
                skips.append(now)
            if level < levels - 1:
                down.append([resize(now, up=False)])
                skips.append(now)
        self.input_blocks = nn.ModuleList(nn.ModuleList(each) for each in down)
        middle = [Residual(now, now, time, scale_shift), mixer(now), Residual(now, now, time, scale_shift)]
        self.middle_block = nn.ModuleList(middle)
        ups: list[list[nn.Module]] = []
        for level in reversed(range(levels)):
            for block in range(blocks + 1):
                width = widths[level]
                each: list[nn.Module] = [Residual(now + skips.pop(), width, time, scale_shift)]
                now = width
                each += [mixer(width)] if level in attends else []
                each += [resize(width, up=True)] if level and block == blocks else []
                ups.append(each)
        self.output_blocks = nn.ModuleList(nn.ModuleList(each) for each in ups)
        self.out = nn.Sequential(nn.GroupNorm(32, now), nn.SiLU(), nn.Conv2d(now, out, 3, padding=1))

    def forward(self, x: Tensor, t_B: Tensor, told: Tensor) -> Tensor:
        """`told`: classes (B,), or what it attends to (B, T, context)."""
        half = self.width // 2
        angles = t_B[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()], 1))
        if told.dtype == torch.int64:
            time = time + self.label_emb(told)

        def through(parts: nn.ModuleList, x: Tensor) -> Tensor:
            for part in parts:
                if isinstance(part, Residual):
                    x = part(x, time)
                else:
                    x = part(x, told) if isinstance(part, SpatialTransformer) else part(x)
            return x

        stack = []
        for parts in self.input_blocks:
            x = through(parts, x)
            stack.append(x)
        x = through(self.middle_block, x)
        for parts in self.output_blocks:
            x = through(parts, torch.cat([x, stack.pop()], 1))
        return self.out(x)
