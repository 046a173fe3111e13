"""Training a quantizer on the latents of a frozen autoencoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging import Logger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.codes import LatentLayout, Latents
from fvq_core.data.loader import Loader
from fvq_core.errors import SmokeError, UserError
from fvq_core.metric import Metric, MetricValue
from fvq_core.ops.finite import check_finite_images
from fvq_core.quantizer import to_vectors
from fvq_core.registry import MODELS, by_name, describe
from fvq_core.training.tasks.tokenizer_task import Reconstructed, TokenizerTask


@MODELS.register_module()
class FrozenLatentsTask(TokenizerTask):
    """A `LatentTokenizer` whose adapter, quantizer and rectifier are trained, and whose autoencoder stays as it is.

    The loss is `reconstruction_loss` between rectified and given latents, both normalized, and the quantizer's own terms. A
    batch has `latents` of a store, or `images`, which are then encoded first. The run starts from the saved autoencoder
    (`load_from`, `--init-from`), or from a whole `LatentTokenizer`; checkpoints and the exported tokenizer hold the
    autoencoder too, so that nothing else is needed to use them. Evaluation on images is that of any tokenizer; on a store, of
    metrics that say something of latents (`takes_latents`).

    Args:
        tokenizer: Config of a `LatentTokenizer`.
        reconstruction_loss, compile, freeze: See `TokenizerTask`; the autoencoder is frozen in any case.

    Raises:
        UserError: Another tokenizer; latents of another autoencoder than the one that the run starts from.
    """

    def __init__(
        self,
        tokenizer: Mapping[str, Any],
        reconstruction_loss: Mapping[str, Any],
        compile: bool | str = False,
        freeze: Sequence[str] = (),
    ) -> None:
        super().__init__(tokenizer, reconstruction_loss, compile=compile, channels_last=False, freeze=freeze)
        self.check_source: Callable[[Any], None] | None = None  # of the training data, until it was called

    @property
    def frozen(self) -> Autoencoder:
        """The autoencoder."""
        source = getattr(self.tokenizer, 'autoencoder', None)
        if not isinstance(source, Autoencoder):
            name = type(self.tokenizer).__name__
            raise UserError(f'FrozenLatentsTask: trains a LatentTokenizer, {name} has no frozen autoencoder.')
        return source

    def freeze(self, names: Sequence[str]) -> None:
        source = self.frozen.requires_grad_(False).eval()
        super().freeze(names)
        self.kept_in_eval = (*self.kept_in_eval, source)

    def compiled_modules(self) -> list[nn.Module]:
        tokenizer: Any = self.tokenizer
        return [tokenizer.encoder.adapter, tokenizer.decoder]

    def check_dataset(self, dataset: Any) -> None:
        layout = getattr(dataset, 'layout', None)
        if layout is None:
            return
        if not isinstance(layout, LatentLayout):
            raise UserError(
                f'FrozenLatentsTask: learns latents, the training data are {layout}; extract them with '
                'tools/extract_codes.py from a continuous autoencoder.'
            )
        self.frozen.check_layout(layout)
        f = self.frozen.downsample_factor
        self.tokenizer.layout(*(side * f for side in layout.positions.shape))  # raises for latents of another size
        self.check_source = getattr(dataset, 'check_tokenizer', None)

    def load_saved(self, source: str) -> nn.Module:
        """A saved `LatentTokenizer`; or a saved autoencoder, which takes the place of this one."""
        saved = Autoencoder.from_pretrained(source)
        if saved.quantizer is not None:
            return super().load_saved(source)
        if by_name(describe(saved)) != by_name(describe(self.frozen)):
            raise UserError(
                f'{source} holds {by_name(describe(saved))}, model.tokenizer.encoder.autoencoder is '
                f'{by_name(describe(self.frozen))}; make them the same.'
            )
        whole: Any = copy.deepcopy(self.tokenizer)
        whole.autoencoder.load_state_dict(saved.state_dict())
        return whole

    @torch.no_grad()
    def latents(self, data: Mapping[str, Any]) -> Latents:
        """The latents of a batch on this model's device; raises if they are those of another autoencoder."""
        device = next(self.parameters()).device
        if 'latents' not in data:
            return self.frozen.latents(super().images(data))
        check, self.check_source = self.check_source, None
        if check is not None:
            check(self.frozen)
        values_BDHW = data['latents'].to(device, non_blocking=True)
        source = self.frozen
        height, width = (side * source.downsample_factor for side in values_BDHW.shape[2:])
        return Latents(values_BDHW, source.latent_layout(height, width))

    def images(self, data: Mapping[str, Any]) -> Any:
        """What `TokenizerTask` trains and initializes the tokenizer on: latents."""
        return self.latents(data)

    @torch.no_grad()
    def initialize_from_data(self, batches: Iterator[Mapping[str, Any]]) -> None:
        """As in `TokenizerTask`, with four latents for each code of a group or of a depth, of which there may be hundreds."""
        quantizer = self.tokenizer.quantizer
        if not quantizer.needs_init:
            return
        wanted, gathered = 4 * max(quantizer.vocabularies), []
        while sum(map(len, gathered)) < wanted:
            gathered.append(to_vectors(self.tokenizer.encode_latent(self.images(next(batches)))))
        quantizer.initialize(torch.cat(gathered))

    def losses(self, images_BCHW: Any, out: AutoencoderOutput, adversarial: Any = None) -> dict[str, Tensor]:
        return super().losses(images_BCHW.normalized(), out)

    def evaluated(self, data: Mapping[str, Any]) -> Any:
        """What the tokenizer is evaluated on: `Latents` of a store, or images."""
        return self.latents(data) if 'latents' in data else super().images(data)

    def val_step(self, data: Mapping[str, Any]) -> Reconstructed:
        """Images and their reconstruction; or normalized latents and the rectified ones."""
        given = self.evaluated(data)
        output = self.tokenizer(given)
        compared = given.normalized() if isinstance(given, Latents) else given
        check_finite_images(output.reconstruction, 'what is reconstructed', len(compared), 'no score is made of it')
        return Reconstructed(compared, output)

    def evaluate(
        self,
        loader: Loader,
        metrics: Sequence[Metric],
        logger: Logger,
        after_batch: Callable[..., None] | None = None,
    ) -> dict[str, MetricValue]:
        of_pixels = [type(metric).__name__ for metric in metrics if not getattr(metric, 'takes_latents', False)]
        if of_pixels and hasattr(loader.dataset, 'layout'):
            raise UserError(
                f'val_evaluator: {", ".join(of_pixels)} need images, val_dataloader has latents; name images.'
            )
        if check := getattr(loader.dataset, 'check_tokenizer', None):
            check(self.frozen)
        return super().evaluate(loader, metrics, logger, after_batch)

    @torch.no_grad()
    def check_export(self, work_dir: Path, batch: Any) -> str:
        given = self.evaluated(batch)
        folded = Autoencoder.from_pretrained(work_dir / 'tokenizer', next(self.parameters()).device)
        one, other = self.tokenizer(given), folded(given)
        if one.codes != other.codes or not torch.equal(one.reconstruction, other.reconstruction):
            raise SmokeError('fold: codes or reconstructions differ from the training model.')
        return f'{work_dir / "tokenizer"}, folded, gives the same codes and the same reconstructions'
