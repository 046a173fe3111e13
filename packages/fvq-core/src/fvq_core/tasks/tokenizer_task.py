"""Training a tokenizer: losses and steps around the module that is exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor

from ..errors import NonFiniteLossError
from ..images import from_uint8
from ..registry import LOSSES, MODELS, TOKENIZERS
from ..tokenizer import Tokenizer, TokenizerOutput


@MODELS.register_module()
class TokenizerTask(BaseModel):
    """A tokenizer and what trains it. State-dict keys of the tokenizer start with `tokenizer.`.

    Args:
        tokenizer: Config of a component of `TOKENIZERS`.
        reconstruction_loss: Config of a pixel loss of `LOSSES`.
    """

    def __init__(self, tokenizer: Mapping[str, Any], reconstruction_loss: Mapping[str, Any]) -> None:
        super().__init__()
        self.tokenizer: Tokenizer = TOKENIZERS.build(tokenizer)
        self.reconstruction_loss = LOSSES.build(reconstruction_loss)

    def images(self, data: Mapping[str, Any]) -> Tensor:
        """The batch's uint8 images on this model's device, as floats in [-1, 1]."""
        return from_uint8(data['images'].to(next(self.parameters()).device, non_blocking=True))

    def forward(self, images_BCHW: Tensor) -> TokenizerOutput:
        return self.tokenizer(images_BCHW)

    def loss(self, images_BCHW: Tensor) -> tuple[dict[str, Tensor], TokenizerOutput]:
        """Weighted loss terms by name, and the forward pass they come from."""
        out = self.tokenizer(images_BCHW)
        return {'reconstruction': self.reconstruction_loss(out.reconstruction, images_BCHW), **out.losses}, out

    @torch.no_grad()
    def prepare(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """Called once before the first step of a fresh run, with batches that training will see again.

        Gives a quantizer that starts from latents four of them for each code.
        """
        quantizer = self.tokenizer.quantizer
        if not quantizer.needs_latents:
            return
        wanted, gathered = 4 * quantizer.codebook().shape[0], []
        while sum(z_ND.shape[0] for z_ND in gathered) < wanted:
            z_BDHW = self.tokenizer.encode_latent(self.images(next(batches)))
            gathered.append(z_BDHW.permute(0, 2, 3, 1).flatten(0, 2))
        quantizer.initialize(torch.cat(gathered))

    def train_step(self, data: Mapping[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Any]:
        """One optimizer step.

        Returns:
            `losses`: detached scalars by name with their sum `total`; `rows`: codebook rows that the batch used (B, L).

        Raises:
            NonFiniteLossError: Before anything is updated.
        """
        with optim_wrapper.optim_context(self):
            losses, out = self.loss(self.images(data))
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            terms = ', '.join(f'{name} {value.item():g}' for name, value in losses.items())
            raise NonFiniteLossError(f'the loss is not finite ({terms})')
        optim_wrapper.update_params(total)
        losses = {name: value.detach() for name, value in losses.items()}
        return {'losses': {'total': total.detach(), **losses}, 'rows': self.tokenizer.quantizer.rows(out.codes)}

    def val_step(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What metrics read: images, the tokenizer's output and the tokenizer, as one entry for the whole batch."""
        images = self.images(data)
        return [{'images': images, 'output': self.tokenizer(images), 'tokenizer': self.tokenizer}]

    test_step = val_step
