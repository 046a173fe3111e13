"""The vector quantizer as a composition of parts: VQGAN, LlamaGen, SimVQ, IBQ and FVQ are configs of this class."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import all_finite
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import FittedState, QuantizerOutput
from fvq_core.registry import (
    CODEBOOK_INITS,
    CODEBOOK_UPDATES,
    DISTANCES,
    ESTIMATORS,
    NORMALIZATIONS,
    PROJECTORS,
    QUANTIZER_LOSSES,
    QUANTIZERS,
    REGULARIZERS,
)

from .codebook_quantizer import CodebookQuantizer
from .fit_state import fit_state
from .latents import check_codebook, check_latent, to_latent, to_vectors
from .losses.assignment_cross_entropy import CodebookLoss
from .parts import check_parts
from .resized_codebook import resized_codebook

Component = Mapping[str, Any]


@QUANTIZERS.register_module()
class VectorQuantizer(CodebookQuantizer):
    """Assigns each latent vector the best code of a mapped codebook.

    Every part is a registered component, given as a config:

    Args:
        codebook_size: K.
        code_dim: D, channels of latent and mapped codes.
        projector: Raw codebook to mapped codebook, a `Projector`; the identity by default. Its `source_dim` is the width
            of the raw codebook.
        normalize: Whether latents and codes are l2-normalized, and for what; not at all by default.
        distance: What makes a code the best; `SquaredL2` by default.
        estimator: How gradients pass the assignment; `StraightThrough` by default.
        loss: Codebook and commitment terms; `VQLoss` (beta 0.25) by default.
        update: What moves the raw codebook; `GradientUpdate` by default.
        regularizer: A penalty on how codes are used; none by default, and never called at weight 0.
        init: Initial raw codebook; `UniformInit` (+-1/K) by default.

    Raises:
        UserError: Sizes below 1, or parts that do not work together; see `check_parts`.

    Attributes:
        embedding: The raw codebook (K, source_dim). Codes are rows of `codebook()`, not of this.
        initialized: Only if codes start from latents: whether they have, uint8.
    """

    resizable = True  # whether it may start from a codebook with another number of codes
    initialized: Tensor

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        projector: Component | None = None,
        normalize: Component | None = None,
        distance: Component | None = None,
        estimator: Component | None = None,
        loss: Component | None = None,
        update: Component | None = None,
        regularizer: Component | None = None,
        init: Component | None = None,
    ) -> None:
        super().__init__(codebook_size, code_dim)
        self.projector = PROJECTORS.build(
            projector or dict(type='IdentityProjector'), codebook_size=codebook_size, code_dim=code_dim
        )
        self.normalize = NORMALIZATIONS.build(normalize or dict(type='NoNormalization'))
        self.distance = DISTANCES.build(distance or dict(type='SquaredL2'))
        self.estimator = ESTIMATORS.build(estimator or dict(type='StraightThrough'))
        self.loss = QUANTIZER_LOSSES.build(loss or dict(type='VQLoss'))
        self.update = CODEBOOK_UPDATES.build(update or dict(type='GradientUpdate'))
        self.regularizer = REGULARIZERS.build(regularizer) if regularizer else None
        self.init = CODEBOOK_INITS.build(init or dict(type='UniformInit'))

        check_parts(self.projector, self.distance, self.estimator, self.update, self.init)
        weights = self.init.weights(codebook_size, self.projector.source_dim)
        self.embedding = nn.Parameter(weights, requires_grad=self.update.trainable)
        if self.init.needs_init:
            self.register_buffer('initialized', torch.zeros((), dtype=torch.uint8))
        self._initialized = not self.init.needs_init  # a copy of `initialized` that needs no wait for the device
        self._start_KD: Tensor | None = None  # a codebook of another size to start from
        self.update.attach(self.embedding, self.normalize, self.distance)

    def codebook(self, wait: bool = True) -> Tensor:
        """The mapped codebook (K, D), float32, normalized if that is what the codes are; `wait` as in `check_codebook`.

        Each call maps it again: call it once per step. With a class-conditional projector it is the codebook of a single
        label for all images; see `DiTBridge`.
        """
        # A copy if this step will overwrite the raw codebook, so that gradients are those of the values used.
        raw_KD = self.embedding.clone() if self.learns and self.update.overwrites else self.embedding
        return check_codebook(self, self.map(raw_KD), wait)

    def map(self, raw_KD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """A raw codebook (K, source_dim) projected and normalized, float32: (K, D), or (B, K, D) with labels."""
        with full_precision(raw_KD.device.type):
            projected = self.projector(raw_KD) if labels_B is None else self.projector(raw_KD, labels_B)
            return self.normalize.codes(projected)

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes for latents after `normalize.latent`."""
        with torch.no_grad():
            return self.distance.search(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD))

    def shift(self, codebook_KD: Tensor) -> Tensor | None:
        """What `logits` may subtract from the codes as the search sees them; see the distance."""
        return self.distance.shift(self.normalize.for_search(codebook_KD))

    def logits(self, z_ND: Tensor, codebook_KD: Tensor, shift_D: Tensor | None = None) -> Tensor:
        """What `search` compares, up to a constant per row: (N, K), differentiable, largest for the best code."""
        return self.distance.logits(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD), shift_D)

    def regularization(self, z_ND: Tensor, codebook_KD: Tensor) -> dict[str, Tensor]:
        """The regularizer's weighted terms; it is not called at weight 0."""
        if self.regularizer is None or not self.regularizer.weight:
            return {}
        return self.regularizer(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD), self.distance)

    def forward(self, z_BDHW: Tensor, labels_B: Tensor | None = None) -> QuantizerOutput:
        """Quantize a latent (B, D, H, W) or (B, D, L).

        Args:
            labels_B: In training with a class-conditional projector: the class of each image, int64. Each image is then
                quantized with the codebook of its class, as released.
        """
        positions, B = check_latent(self, z_BDHW), z_BDHW.shape[0]
        with full_precision(z_BDHW.device.type):
            latents_ND = to_vectors(z_BDHW).float()
            self.maybe_initialize(latents_ND)
            z_ND = self.normalize.latent(latents_ND)
            passed_ND = self.normalize.for_estimator(latents_ND, z_ND)
            if labels_B is not None:
                indices_N, z_q_ND, losses = self._quantize_by_class(z_ND, passed_ND, labels_B, B)
            else:
                indices_N = None
                if self.learns:
                    self.projector.observe(z_ND, self.embedding)
                    indices_N = self.update.before_assignment(self, z_ND)
                indices_N, z_q_ND, losses = self._quantize(z_ND, passed_ND, self.codebook(), indices_N)
            if self.learns:
                self.update.step(self.embedding, latents_ND if self.update.takes_raw_latents else z_ND, indices_N)
                if isinstance(self.loss, CodebookLoss):
                    self.loss.after_step()
        codes = Codes(indices_N.view(B, -1), self.layout(positions))
        return QuantizerOutput(to_latent(z_q_ND, positions), codes, to_latent(z_ND, positions), losses)

    def _quantize_by_class(
        self, z_ND: Tensor, passed_ND: Tensor, labels_B: Tensor, batch: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """As `_quantize`, each image with the codebook of its label; losses are means over images."""
        self.projector.check_labels(labels_B, batch)
        codebooks = self.map(self.embedding, labels_B).unbind()
        images = [
            self._quantize(*each) for each in zip(z_ND.chunk(batch), passed_ND.chunk(batch), codebooks, strict=True)
        ]
        indices, vectors, terms = zip(*images, strict=True)
        losses = {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}
        return torch.cat(indices), torch.cat(vectors), losses

    def _quantize(
        self, z_ND: Tensor, passed_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Indices (N,), searched unless given, quantized vectors (N, D) and, in training, losses.

        `passed_ND` is `z_ND` with the gradient that quantized vectors pass on.
        """
        if indices_N is None:
            indices_N = self.search(z_ND, codebook_KD)
        code_vectors_ND = F.embedding(indices_N, codebook_KD)
        if not self.training:
            return indices_N, code_vectors_ND, {}
        z_q_ND = self.estimator(passed_ND, codebook_KD, indices_N, self)
        compared = (codebook_KD,) if isinstance(self.loss, CodebookLoss) else ()
        losses = {**self.loss(z_ND, code_vectors_ND, z_q_ND, *compared), **self.regularization(z_ND, codebook_KD)}
        return indices_N, z_q_ND, losses

    def fold(self, label: int | None = None) -> VectorQuantizer:
        label, training = self.projector.label_to_fold(label), self.projector.training
        self.projector.eval()
        with torch.no_grad(), full_precision(self.embedding.device.type):
            labels = () if label is None else (torch.tensor([label]),)
            mapped_KD = self.projector(self.embedding, *labels).reshape(self.codebook_size, -1).clone()
        self.projector.train(training)
        identity = PROJECTORS.build(
            dict(type='IdentityProjector'), codebook_size=self.codebook_size, code_dim=self.code_dim
        )
        # Averages and momenta of the raw codebook, which update and init keep for training, are dropped.
        memo: dict[int, Any] = {
            id(self.projector): identity,
            id(self.embedding): nn.Parameter(mapped_KD),
            id(self.update): CODEBOOK_UPDATES.build(dict(type='GradientUpdate')),
            id(self.init): CODEBOOK_INITS.build(dict(type='UniformInit')),
        }
        folded = copy.deepcopy(self, memo)
        folded._buffers.clear()
        folded._initialized = True
        config = getattr(folded, 'component_config', {})
        kept = {key: value for key, value in config.items() if key not in ('update', 'init')}
        folded.component_config = {**kept, 'projector': {}}
        return folded.eval()

    @property
    def depends_on_batch(self) -> bool:
        return self.distance.at_inference

    @property
    def needs_init(self) -> bool:
        if not self._initialized:
            self._initialized = bool(self.initialized)
        return not self._initialized or self._start_KD is not None

    def start_from(self, codebook_KD: Tensor) -> None:
        """Start from a raw codebook with another number of codes when there are latents; see `resized_codebook`."""
        self._start_KD = codebook_KD

    def fit_state(self, saved: Mapping[str, Tensor], source: str) -> FittedState:
        return fit_state(self, saved, source)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._initialized = not self.init.needs_init
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def initialize(self, z_ND: Tensor) -> None:
        start_KD, self._start_KD = self._start_KD, None
        if start_KD is None and not self.init.needs_init:
            raise UserError(
                f"VectorQuantizer: {type(self.init).__name__} does not start from latents; use init=dict(type='KMeansInit')."
            )
        if start_KD is None and self.frozen:
            raise UserError(
                f'VectorQuantizer: frozen, but {type(self.init).__name__} has yet to set its codes from latents; start from '
                'weights (--init-from), or do not freeze it.'
            )
        if z_ND.dim() != 2 or z_ND.shape[1] != self.code_dim:
            raise UserError(f'VectorQuantizer: expected latents (N, {self.code_dim}), got {tuple(z_ND.shape)}.')
        if not all_finite(z_ND):
            raise NonFiniteError(
                'VectorQuantizer: the latents to start the codebook from are not finite; check the encoder.'
            )
        z_ND = self.normalize.latent(z_ND.float())
        if start_KD is None:
            codes_KD = self.init.from_latents(z_ND, self.codebook_size)
        else:
            codes_KD = resized_codebook(self, start_KD.to(self.embedding), z_ND)
        if self.init.needs_init:
            self.initialized.fill_(1)
        self.embedding.copy_(codes_KD)
        self.update.attach(self.embedding, self.normalize, self.distance)

    def on_codebook_loaded(self) -> None:
        """Start what the update keeps again from the codebook."""
        if self.init.needs_init:
            self.initialized.fill_(1)
        self.update.attach(self.embedding, self.normalize, self.distance)
