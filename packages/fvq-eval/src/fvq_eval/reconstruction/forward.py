"""Reconstructions that depend only on the image: not on its batch, the rank, TF32 or threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.tokenizer import Tokenizer, TokenizerOutput

from ..features.each_image import each_image, one_thread
from ..features.exact_precision import exact_precision


@torch.no_grad()
def reconstruct(tokenizer: Tokenizer, images_BCHW: Tensor, batch_size: int) -> TokenizerOutput:
    """What a tokenizer makes of up to `batch_size` images, in float32.

    Kernels sum in an order that may depend on the batch's size and on the number of threads, and two ranks end with other
    batches than one. So a CPU takes one image at a time, see `each_image`; on a GPU a last batch is filled up with copies of
    its last image, which are dropped again.

    Args:
        tokenizer: In eval mode.
        images_BCHW: RGB in [-1, 1].
        batch_size: What a GPU is given at a time.
    """
    with exact_precision(images_BCHW.device.type):
        if images_BCHW.device.type == 'cpu':
            with one_thread():
                tokenizer.eval().quantizer.codebook()  # `eval` forgets a codebook that many threads mapped
            return joined(each_image(tokenizer, images_BCHW))
        count, missing = len(images_BCHW), batch_size - len(images_BCHW)
        if missing > 0:
            images_BCHW = torch.cat([images_BCHW, images_BCHW[-1:].expand(missing, -1, -1, -1)])
        output = tokenizer(images_BCHW)
    return replace(
        output,
        reconstruction=output.reconstruction[:count],
        codes=Codes(output.codes.indices_BL[:count], output.codes.layout),
        z_BDHW=None if output.z_BDHW is None else output.z_BDHW[:count],
        z_q_BDHW=output.z_q_BDHW[:count],
    )


def joined(outputs: Sequence[TokenizerOutput]) -> TokenizerOutput:
    """The outputs of single images as that of a batch; `losses`, which are means over a batch, are left out."""
    latents = [output.z_BDHW for output in outputs if output.z_BDHW is not None]
    return TokenizerOutput(
        reconstruction=torch.cat([output.reconstruction for output in outputs]),
        codes=Codes(torch.cat([output.codes.indices_BL for output in outputs]), outputs[0].codes.layout),
        z_BDHW=torch.cat(latents) if latents else None,
        z_q_BDHW=torch.cat([output.z_q_BDHW for output in outputs]),
    )
