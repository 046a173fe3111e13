"""What the operators of decoding compute, in float64 and as the papers write it."""

from __future__ import annotations

import torch
from torch import Tensor


def normalized(x_RD: Tensor, gain_D: Tensor, eps: float = 1e-5) -> Tensor:
    """RMSNorm."""
    x_RD = x_RD.double()
    return x_RD / (x_RD.square().mean(-1, keepdim=True) + eps).sqrt() * gain_D.double()


def qkv(
    x_RD: Tensor, weight_ND: Tensor, gain_D: Tensor, table_P2: Tensor | None, H: int, KV: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of normalized rows, queries and keys turned as complex numbers: (R, heads, head_dim) each."""
    y = (normalized(x_RD, gain_D) @ weight_ND.double().T).unflatten(-1, (H + 2 * KV, -1))
    qk, v = y[:, : H + KV], y[:, H + KV :]
    if table_P2 is not None:
        pairs = torch.view_as_complex(qk.unflatten(-1, (-1, 2)).contiguous())
        qk = torch.view_as_real(pairs * torch.view_as_complex(table_P2.double())).flatten(-2)
    return qk[:, :H], qk[:, H:], v


def attention(
    q_BHD: Tensor, keys_BKTD: Tensor, values_BKTD: Tensor, position: int, visible_BT: Tensor | None
) -> Tensor:
    """Of each row by itself, of the positions that it sees."""
    rows = []
    for b, q_HD in enumerate(q_BHD.double()):
        seen = [t for t in range(position + 1) if visible_BT is None or visible_BT[b, t] or t == position]
        group = len(q_HD) // keys_BKTD.shape[1]
        k, v = (part[b][:, seen].double().repeat_interleave(group, 0) for part in (keys_BKTD, values_BKTD))
        weights = ((k @ q_HD[:, :, None])[..., 0] / q_HD.shape[-1] ** 0.5).softmax(-1)
        rows.append((weights[:, None] @ v).flatten())
    return torch.stack(rows)
