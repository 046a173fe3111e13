"""Attention of one new position that reads only what is filled of a cache of fixed size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .few_rows import STEP, load_kernels, on, power_of_2

CHUNK = 64  # positions of a program: small enough that one image keeps a GPU busy


@torch.library.custom_op('fvq_generators::decode_attention', mutates_args=())
def decode_attention(
    q_BHD: Tensor, keys: Tensor, values: Tensor, position: Tensor, visible_BT: Tensor | None, layer: int
) -> Tensor:
    """(B, heads * head_dim): what position `position` of each sequence attends to, itself and those before it.

    The sequence is split into chunks of a fixed size (flash-decoding, Dao et al., 2023), so that a row is computed alike in
    any batch. Softmax and sums are in float32.

    Args:
        q_BHD: (B, heads, head_dim).
        keys, values: (layers, B, kv_heads, T, head_dim), filled up to `position`.
        position: int64 (1,) on the device.
        visible_BT: bool, False for hidden positions; a position sees itself anyway. None hides none.
        layer: Which of the layers.
    """
    B, H, HD = q_BHD.shape
    KV, T = keys.shape[2:4]

    def plain() -> Tensor:
        t = torch.arange(T, device=position.device)
        mask = (t <= position)[None, None, None]
        if visible_BT is not None:
            mask = mask & (visible_BT[:, None, None, :T] | (t == position))
        out = F.scaled_dot_product_attention(
            q_BHD[:, :, None], keys[layer], values[layer], attn_mask=mask, enable_gqa=H != KV
        )
        return out.reshape(B, H * HD)

    def launch() -> Tensor:
        attend_kernel = load_kernels('decode_attention').attend_kernel
        combine_kernel = load_kernels('decode_attention').combine_kernel

        q, splits, BH = q_BHD.contiguous(), -(-T // CHUNK), power_of_2(HD)
        visible = None if visible_BT is None else visible_BT[:, :T].contiguous()
        stats = torch.empty(B, H, splits, 2, dtype=torch.float32, device=q.device)
        parts = torch.empty(B, H, splits, HD, dtype=torch.float32, device=q.device)
        out = q.new_empty(B, H * HD)
        with on(q):
            attend_kernel[(B * KV, splits)](
                q, keys[layer], values[layer], position, visible, stats, parts, KV, T, keys.stride(1), splits, HD**-0.5,
                VISIBLE=visible is not None, GROUP=H // KV, HD=HD, BH=BH, CHUNK=CHUNK, num_warps=4,
            )  # fmt: skip
            combine_kernel[(B * H,)](
                stats, parts, position, out, splits, HD=HD, BH=BH, BS=power_of_2(splits), CHUNK=CHUNK, num_warps=1
            )
        return out

    return STEP.run(launch, plain) if STEP.enabled(q_BHD.device) else plain()


@decode_attention.register_fake
def _(q_BHD: Tensor, keys: Tensor, values: Tensor, position: Tensor, visible_BT: Tensor | None, layer: int) -> Tensor:
    return q_BHD.new_empty(q_BHD.shape[0], q_BHD.shape[1] * q_BHD.shape[2])
