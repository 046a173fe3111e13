"""Reconstructions that depend only on the image: not on its batch, the rank, TF32 or threads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.codes import Codes
from fvq_core.quantizer import QuantizerOutput

from ..features.each_image import each_image, one_thread
from ..features.exact_precision import exact_precision


@torch.no_grad()
def reconstruct(tokenizer: Autoencoder, images_BCHW: Tensor, batch_size: int) -> AutoencoderOutput:
    """What a tokenizer makes of up to `batch_size` images, in float32.

    Kernels sum in an order that may depend on the batch's size and on the number of threads, and two ranks end with other
    batches than one. So a CPU takes one image at a time, see `each_image`; on a GPU a last batch is filled up with copies of
    its last image, which are dropped again.

    Args:
        tokenizer: Tokenizer in eval mode.
        images_BCHW: RGB in [-1, 1].
        batch_size: What a GPU is given at a time.
    """
    with exact_precision(images_BCHW.device.type):
        if images_BCHW.device.type == 'cpu':
            with one_thread():
                if tokenizer.eval().quantizer is not None:
                    tokenizer.quantizer.codebook()  # `eval` forgets a codebook that many threads mapped
            return joined(each_image(tokenizer, images_BCHW))
        count, missing = len(images_BCHW), batch_size - len(images_BCHW)
        if missing > 0:
            images_BCHW = torch.cat([images_BCHW, images_BCHW[-1:].expand(missing, -1, -1, -1)])
        output = tokenizer(images_BCHW)
    out = output.quantized
    if out is not None:
        z_BDHW = None if out.z_BDHW is None else out.z_BDHW[:count]
        out = QuantizerOutput(out.z_q_BDHW[:count], Codes(out.codes.indices_BL[:count], out.codes.layout), z_BDHW)
    return AutoencoderOutput(output.reconstruction[:count], quantized=out)


def joined(outputs: Sequence[AutoencoderOutput]) -> AutoencoderOutput:
    """The outputs of single images as that of a batch; `losses`, which are means over a batch, are left out."""
    quantized = [output.quantized for output in outputs if output.quantized is not None]
    out = None
    if quantized:
        latents = [one.z_BDHW for one in quantized if one.z_BDHW is not None]
        out = QuantizerOutput(
            torch.cat([one.z_q_BDHW for one in quantized]),
            Codes(torch.cat([one.codes.indices_BL for one in quantized]), quantized[0].codes.layout),
            torch.cat(latents) if latents else None,
        )
    return AutoencoderOutput(torch.cat([output.reconstruction for output in outputs]), quantized=out)
