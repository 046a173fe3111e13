"""Training a tokenizer: losses and steps around the module that is exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ...autoencoder import Autoencoder, AutoencoderOutput
from ...errors import SmokeError
from ...images import device_images
from ...losses.reconstruction import PixelLoss
from ...ops.finite import check_finite_images
from ...ops.ranks import average_over_ranks
from ...quantizer import to_vectors
from ...registry import LOSSES, MODELS, TOKENIZERS
from .task import MicroBatch, Task

if TYPE_CHECKING:
    from ...losses.adversarial import AdversarialLoss
    from ...losses.feature_alignment import FeatureAlignment


@dataclass(frozen=True)
class Reconstructed:
    """A batch of evaluation: images (B, 3, H, W) in [-1, 1], and the tokenizer's output for them."""

    images: Tensor
    output: AutoencoderOutput


@MODELS.register_module()
class TokenizerTask(Task):
    """A tokenizer, or a continuous autoencoder, with its losses. State-dict keys of the tokenizer start with `tokenizer.`.

    Its parts are `tokenizer` and, with an adversarial loss, `discriminator`. Both step on the same batch, and the
    discriminator sees reconstructions from before the tokenizer's step, as in LlamaGen.

    Args:
        tokenizer: Config of a component of `TOKENIZERS`.
        reconstruction_loss: Config of a pixel loss of `LOSSES`.
        perceptual_loss: Config of a perceptual loss of `LOSSES`.
        adversarial: Config of an `AdversarialLoss`.
        alignment: Config of a `FeatureAlignment`, whose head is the part `alignment`.
        nll: Config of an `NLLLoss`, which makes a likelihood of the two terms before, as KL autoencoders are trained.
        freeze: Parts of the tokenizer that stay as they are (`encoder`, `quantizer`, `decoder`), buffers and codes included;
            the convolutions around the quantizer belong to the half that they are next to. A frozen quantizer behind a
            trained encoder still gives it gradients and losses.
        compile: See `Task`; compiles encoder, decoder, perceptual loss and discriminator.
        channels_last: See `Task`; by default where the fused kernels of these networks run (`fvq_core.ops.kernels`).
    """

    training_only = ('perceptual_loss', 'adversarial', 'alignment')

    def __init__(
        self,
        tokenizer: Mapping[str, Any],
        reconstruction_loss: Mapping[str, Any],
        perceptual_loss: Mapping[str, Any] | None = None,
        adversarial: Mapping[str, Any] | None = None,
        nll: Mapping[str, Any] | None = None,
        compile: bool | str = False,
        channels_last: bool | None = None,
        freeze: Sequence[str] = (),
        alignment: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(compile, channels_last)
        self.tokenizer: Autoencoder = TOKENIZERS.build(tokenizer)
        self.reconstruction_loss = LOSSES.build(reconstruction_loss)
        if isinstance(self.reconstruction_loss, PixelLoss):
            self.reconstruction_loss.attach(self.tokenizer)
        self.perceptual_loss = LOSSES.build(perceptual_loss) if perceptual_loss else None
        self.adversarial: AdversarialLoss | None = LOSSES.build(adversarial) if adversarial else None
        self.nll = LOSSES.build(nll) if nll else None
        self.alignment: FeatureAlignment | None = LOSSES.build(alignment) if alignment else None
        if self.alignment is not None:
            self.alignment.attach(self.tokenizer)
        self.freeze(freeze)

    def parts(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {'tokenizer': self.tokenizer}
        if self.adversarial is not None:
            parts['discriminator'] = self.adversarial
        if self.alignment is not None:
            parts['alignment'] = self.alignment
        return parts

    def freezable(self) -> dict[str, list[nn.Module]]:
        children = super().freezable()
        for name, half in (('pre_quant', 'encoder'), ('post_quant', 'decoder')):
            children[half] += children.pop(name, [])
        return children

    def freeze(self, names: Sequence[str]) -> None:
        super().freeze(names)
        if 'quantizer' in names:
            self.tokenizer.quantizer.freeze()
            if 'encoder' not in names:  # in eval mode the gradient would end here
                self.kept_in_eval = tuple(m for m in self.kept_in_eval if m is not self.tokenizer.quantizer)

    def autoencoder(self) -> Autoencoder:
        return self.tokenizer

    @torch.no_grad()
    def codebook_size(self) -> int | None:
        quantizer = self.tokenizer.quantizer
        # The loop switches to training afterwards.
        return None if quantizer is None else len(quantizer.eval().codebook())

    def compiled_modules(self) -> list[nn.Module]:
        discriminator = self.adversarial and self.adversarial.discriminator
        modules = (self.tokenizer.encoder, self.tokenizer.decoder, self.perceptual_loss, discriminator)
        return [module for module in modules if module is not None]

    def images(self, data: Mapping[str, Any]) -> Tensor:
        """The batch's uint8 images on this model's device, as floats in [-1, 1]."""
        images = device_images(data, next(self.parameters()).device)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def load_saved(self, source: str) -> nn.Module:
        """A saved tokenizer, folded if it has a projector or training state that the tokenizer of this task lacks."""
        saved, own = Autoencoder.from_pretrained(source), self.tokenizer.quantizer
        if saved.quantizer is None or own is None or own.state_dict().keys() >= saved.quantizer.state_dict().keys():
            return saved
        return saved.fold()

    @torch.no_grad()
    def check_export(self, work_dir: Path, batch: Any) -> str:
        images = self.images(batch)
        folded = Autoencoder.from_pretrained(work_dir / 'tokenizer', images.device)
        one, other = self.tokenizer(images), folded(images)
        if one.codes is not None and not torch.equal(one.codes.indices_BL, other.codes.indices_BL):
            raise SmokeError('fold: codes differ from the training model.')
        if not torch.equal(one.reconstruction, other.reconstruction):
            raise SmokeError('fold: pixels differ from the training model.')
        if not torch.equal(folded.decode(folded.encode(images)), other.reconstruction):
            raise SmokeError('round trip: decode(encode(x)) differs from the reconstruction.')
        what = 'gives the same pixels' if one.codes is None else 'folded, gives the same codes and the same pixels'
        return f'{work_dir / "tokenizer"}, {what}'

    def labels(self, data: Mapping[str, Any]) -> Tensor | None:
        """The class labels of the batch, if the tokenizer takes them."""
        if not self.tokenizer.takes_labels or self.tokenizer.quantizer in self.kept_in_eval:
            return None
        return data['labels'].to(next(self.parameters()).device, non_blocking=True)

    def forward(self, images_BCHW: Tensor) -> AutoencoderOutput:
        return self.tokenizer(images_BCHW)

    def losses(
        self, images_BCHW: Tensor, out: AutoencoderOutput, adversarial: AdversarialLoss | None = None
    ) -> dict[str, Tensor]:
        """The tokenizer's weighted loss terms by name."""
        reconstruction = out.reconstruction.float()
        losses = {'reconstruction': self.reconstruction_loss(reconstruction, images_BCHW)}
        if self.perceptual_loss is not None:
            losses['perceptual'] = self.perceptual_loss(reconstruction, images_BCHW)
        if self.nll is not None:
            losses = self.nll(losses, images_BCHW)
        if adversarial is not None and reconstruction.requires_grad:  # not if only the codes are trained
            generator_loss = adversarial.generator(reconstruction)
            pixels = torch.stack(list(losses.values())).sum()
            last = self.tokenizer.decoder.last_layer
            weight = adversarial.generator_weight(
                pixels, generator_loss, last if last.requires_grad else reconstruction
            )
            losses['adversarial'] = weight * generator_loss
        if self.alignment is not None:
            losses['alignment'] = self.alignment.of_tokenizer(images_BCHW)
        return {**losses, **out.losses}

    @torch.no_grad()
    def initialize_from_data(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """Initialize a quantizer that starts from latents with four of them for each code."""
        quantizer = self.tokenizer.quantizer
        if quantizer is None or not quantizer.needs_init:
            return
        wanted, gathered = 4 * quantizer.codebook().shape[0], []
        while sum(z_ND.shape[0] for z_ND in gathered) < wanted:
            gathered.append(to_vectors(self.tokenizer.encode_latent(self.images(next(batches)))))
        quantizer.initialize(torch.cat(gathered))

    def parts_due(self, iteration: int) -> list[str]:
        active = self.adversarial is not None and self.adversarial.active(iteration)
        return [name for name in self.parts() if name != 'discriminator' or active]

    def backward(
        self, batch: Mapping[str, Any], optimizers: Mapping[str, OptimWrapper], micro_batches: int
    ) -> MicroBatch:
        """See `Task`. The losses include the discriminator's terms, which are not part of the tokenizer's `total`."""
        adversarial = self.adversarial if 'discriminator' in optimizers else None
        images = self.images(batch)
        with optimizers['tokenizer'].optim_context(self):
            out = self.ddp_module('tokenizer')(images, self.labels(batch))
            losses = self.losses(images, out, adversarial)
        losses = {'total': torch.stack(list(losses.values())).sum(), **losses}
        optimizers['tokenizer'].backward(losses['total'] / micro_batches)
        if self.alignment is not None:
            with optimizers['alignment'].optim_context(self):
                head_loss = self.ddp_module('alignment')()
            optimizers['alignment'].backward(head_loss / micro_batches)
        if adversarial is not None:
            with optimizers['discriminator'].optim_context(self):
                discriminator_losses = self.ddp_module('discriminator')(images, out.reconstruction.detach())
            optimizers['discriminator'].backward(torch.stack(list(discriminator_losses.values())).sum() / micro_batches)
            losses |= discriminator_losses
        return MicroBatch(
            {name: value.detach() for name, value in losses.items()},
            len(images),
            None if out.codes is None else self.tokenizer.quantizer.codebook_indices(out.codes),
            {} if out.latent_abs_max is None else {'largest latent': out.latent_abs_max.detach()},
        )

    def after_step(self, optimizers: Mapping[str, OptimWrapper]) -> None:
        if self.adversarial is not None and 'discriminator' in optimizers:
            # The BatchNorm of each rank saw only its own images.
            average_over_ranks([buffer for buffer in self.adversarial.buffers() if buffer.is_floating_point()])

    def val_step(self, data: Mapping[str, Any]) -> Reconstructed:
        """A batch and its reconstruction, which metrics read; raises if latents, codes or pixels are not finite."""
        images = self.images(data)
        output = self.tokenizer(images)
        check_finite_images(output.reconstruction, 'the pixels', len(images), 'no score is made of them')
        return Reconstructed(images, output)
