"""Reconstructions that depend on the image alone: not on its batch, not on the rank, not on TF32."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.tokenizer import Tokenizer, TokenizerOutput

from ..features.exact_precision import exact_precision


@torch.no_grad()
def reconstruct(tokenizer: Tokenizer, images_BCHW: Tensor, batch_size: int) -> TokenizerOutput:
    """What a tokenizer makes of up to `batch_size` images, in float32.

    A last batch is filled up with copies of its last image, which are dropped again: kernels sum in an order that may
    depend on the batch's size, and two ranks end with other batches than one.

    Args:
        tokenizer: In eval mode.
        images_BCHW: RGB in [-1, 1].
        batch_size: What the network is given at a time.
    """
    count, missing = len(images_BCHW), batch_size - len(images_BCHW)
    if missing > 0:
        images_BCHW = torch.cat([images_BCHW, images_BCHW[-1:].expand(missing, -1, -1, -1)])
    with exact_precision(images_BCHW.device.type):
        output = tokenizer(images_BCHW)
    return replace(
        output,
        reconstruction=output.reconstruction[:count],
        codes=Codes(output.codes.indices_BL[:count], output.codes.layout),
        z_BDHW=None if output.z_BDHW is None else output.z_BDHW[:count],
        z_q_BDHW=output.z_q_BDHW[:count],
    )
