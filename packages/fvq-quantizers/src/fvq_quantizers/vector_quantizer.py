"""The vector quantizer as a composition of axes: VQGAN, LlamaGen, SimVQ, IBQ and FVQ are configs of this class."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes, Grid, check_is_codes
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import all_finite
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import Quantizer, QuantizerOutput
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

from .latents import check_codebook, check_latent, to_grid, to_vectors

Component = Mapping[str, Any]


@QUANTIZERS.register_module()
class VectorQuantizer(Quantizer):
    """Each latent vector becomes the best code of a mapped codebook.

    Every axis is a registered component, given as a config:

    Args:
        codebook_size: K.
        code_dim: D, channels of latent and mapped codes.
        projector: Raw codebook to mapped codebook; identity by default. It is built with `codebook_size` and
            `code_dim`; a `source_dim` attribute, if it has one, is the width of the raw codebook (D otherwise).
        normalize: Which sides are l2-normalised and for what; none by default.
        distance: What makes a code the best; `SquaredL2` by default.
        estimator: How gradients pass the choice; `StraightThrough` by default.
        loss: Codebook and commitment terms; `VQLoss` (beta 0.25) by default.
        update: What moves the raw codebook; `GradientUpdate` by default.
        regularizer: A penalty on how codes are chosen; none by default, and never called at weight 0.
        init: Start values of the raw codebook; `UniformInit` (+-1/K) by default.

    Raises:
        UserError: Parts that cannot combine: an update that writes latent-space vectors into the raw codebook (EMA)
            needs an identity projector; one that acts before codes are chosen (alternating) needs one codebook, which
            a class-conditional projector has not.

    Attributes:
        embedding: The raw codebook (K, source_dim). Read `codebook()` instead: it is what codes mean.
        initialized: Where codes start from latents: whether they have, uint8.
    """

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
        super().__init__()
        if codebook_size < 1 or code_dim < 1:
            raise UserError(
                f'VectorQuantizer: codebook_size and code_dim must be 1 or more, got {codebook_size} and {code_dim}.'
            )
        self.codebook_size, self.code_dim = codebook_size, code_dim
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

        identity = getattr(self.projector, 'is_identity', False)
        for axis, part in (('update', self.update), ('init', self.init)):
            if (getattr(part, 'writes_codes', False) or getattr(part, 'needs_init', False)) and not identity:
                raise UserError(
                    f'VectorQuantizer: {axis} {type(part).__name__} writes latent vectors into the raw codebook, so the '
                    f'projector must be the identity, got {type(self.projector).__name__}; drop one of the two.'
                )
        if self.update.acts_before_assignment and self.takes_labels:
            raise UserError(
                f'VectorQuantizer: {type(self.update).__name__} acts on one codebook before its codes are chosen, and '
                f'{type(self.projector).__name__} with num_classes makes one for each class; drop one of the two.'
            )
        weights = self.init.weights(codebook_size, getattr(self.projector, 'source_dim', code_dim))
        self.embedding = nn.Parameter(weights, requires_grad=self.update.trainable)
        if self.estimator.moves_codes and not any(
            p.requires_grad for p in (self.embedding, *self.projector.parameters())
        ):
            raise UserError(
                f'VectorQuantizer: {type(self.estimator).__name__} gives the codes a gradient that nothing takes: '
                f'{type(self.update).__name__} trains no codebook and {type(self.projector).__name__} has no weights; use '
                'StraightThrough, or an update whose codebook the optimizer trains.'
            )
        if self.init.needs_init:
            self.register_buffer('initialized', torch.zeros((), dtype=torch.uint8))
        self._ready = not self.init.needs_init  # what `initialized` says, read from the device once
        self.update.attach(self.embedding, self.normalize, self.distance)

    def codebook(self) -> Tensor:
        """The mapped codebook (K, D), float32, normalised where that is what codes mean.

        It is mapped anew in each call: call it once a step. Of a class-conditional projector it is the codebook of one
        label, the same for every image: `DiTBridge` says which.
        """
        return check_codebook(self, self.normalize.codes(self._project()))

    def map(self, raw_KD: Tensor) -> Tensor:
        """What a raw codebook (K, source_dim) means: projected, float32, normalised where that is what codes mean."""
        with full_precision(raw_KD.device.type):
            return self.normalize.codes(self.projector(raw_KD))

    def _project(self, label: int | None = None) -> Tensor:
        raw_KD = self.embedding.clone() if self.training and self.update.overwrites else self.embedding
        with full_precision(self.embedding.device.type):
            if label is None:
                return self.projector(raw_KD)
            return self.projector(raw_KD, torch.full((1,), label))[0]

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes for latents that `normalize.latent` has seen."""
        with torch.no_grad():
            return self.distance.search(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD))

    def shift(self, codebook_KD: Tensor) -> Tensor | None:
        """What `logits` may subtract, from the codes as the search sees them; see the distance."""
        find = getattr(self.distance, 'shift', None)
        return None if find is None else find(self.normalize.for_search(codebook_KD))

    def logits(self, z_ND: Tensor, codebook_KD: Tensor, shift_D: Tensor | None = None) -> Tensor:
        """What `search` compares up to a constant per row, (N, K), differentiable: the best code has the largest."""
        options = () if shift_D is None else (shift_D,)
        return self.distance.logits(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD), *options)

    def regularization(self, z_ND: Tensor, codebook_KD: Tensor) -> dict[str, Tensor]:
        """The regulariser's weighted terms; its code is not called at weight 0."""
        if self.regularizer is None or not self.regularizer.weight:
            return {}
        return self.regularizer(self.normalize.for_search(z_ND), self.normalize.for_search(codebook_KD), self.distance)

    def forward(self, z_BDHW: Tensor, labels_B: Tensor | None = None) -> QuantizerOutput:
        """Quantize a latent (B, D, H, W).

        Args:
            z_BDHW: The latent.
            labels_B: In training, for a class-conditional projector: the class of each image, int64. Each image is then
                quantized with the codebook of its class, as released.
        """
        B, _, H, W = check_latent(self, z_BDHW)
        with full_precision(z_BDHW.device.type):
            latents_ND = to_vectors(z_BDHW).float()
            self.start(latents_ND)
            z_ND = self.normalize.latent(latents_ND)
            if labels_B is None:
                indices_N = self._prepare(z_ND) if self.training else None
                indices_N, z_q_ND, losses = self._quantize(z_ND, self.codebook(), indices_N)
            else:
                self._check_labels(labels_B, B)
                codebooks = self.normalize.codes(self.projector(self.embedding, labels_B)).unbind()
                images = [self._quantize(*pair) for pair in zip(z_ND.chunk(B), codebooks, strict=True)]
                indices, vectors, terms = zip(*images, strict=True)
                indices_N, z_q_ND = torch.cat(indices), torch.cat(vectors)
                losses = {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}
            if self.training:
                self.update.step(self.embedding, latents_ND if self.update.takes_raw_latents else z_ND, indices_N)
        codes = Codes(indices_N.view(B, H * W), self.layout(H, W))
        return QuantizerOutput(to_grid(z_q_ND, B, H, W), codes, to_grid(z_ND, B, H, W), losses)

    def _check_labels(self, labels_B: Tensor, batch: int) -> None:
        given = f'{tuple(labels_B.shape)} {labels_B.dtype}'
        if not self.takes_labels:
            name = type(self.projector).__name__
            raise UserError(f'VectorQuantizer: {name} has no classes and takes no labels, got {given}; drop labels_B.')
        if not self.training:
            raise UserError(
                'VectorQuantizer: labels choose a codebook in training alone; in eval all images have the one that fold() '
                f'keeps. Drop labels_B, or fold(label); got {given}.'
            )
        if labels_B.shape != (batch,) or labels_B.dtype != torch.int64:
            raise UserError(f'VectorQuantizer: expected int64 labels ({batch},), one an image, got {given}.')

    def _prepare(self, z_ND: Tensor) -> Tensor | None:
        """What precedes a training batch's choice of codes: a projector that follows the latents, the update's own step."""
        if observe := getattr(self.projector, 'observe', None):
            observe(z_ND, self.embedding)
        return self.update.before_assignment(self, z_ND)

    def _quantize(
        self, z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Indices (N,), searched where not given, quantized vectors (N, D) and, in training, losses."""
        if indices_N is None:
            indices_N = self.search(z_ND, codebook_KD)
        codes_ND = F.embedding(indices_N, codebook_KD)
        if not self.training:
            return indices_N, codes_ND, {}
        z_q_ND = self.estimator(z_ND, codebook_KD, indices_N, self)
        losses = {**self.loss(z_ND, codes_ND, z_q_ND), **self.regularization(z_ND, codebook_KD)}
        return indices_N, z_q_ND, losses

    def embed(self, codes: Codes) -> Tensor:
        check_is_codes('VectorQuantizer', codes)
        codes.layout.check(codes.indices_BL)
        layout = codes.layout
        if not isinstance(layout, Grid) or layout.codebook_size != self.codebook_size:
            raise UserError(f'VectorQuantizer: cannot embed {layout}; expected a Grid of {self.codebook_size} codes.')
        codes_ND = F.embedding(codes.indices_BL.reshape(-1), self.codebook())
        return to_grid(codes_ND, len(codes), *layout.shape)

    def layout(self, height: int, width: int) -> Grid:
        return Grid(height, width, self.codebook_size)

    def fold(self, label: int | None = None) -> VectorQuantizer:
        """A copy for inference: the mapped codebook replaces projector and raw codebook. Codes and values stay the same.

        What an init or an update keeps for training (averages, momenta of the raw codebook) is left behind too.

        Args:
            label: Of a class-conditional projector, the class whose codebook is kept; by default what its config says.

        Raises:
            UserError: Such a projector and no label at all, or a label for a projector that has no classes.
        """
        label = self._label_to_fold(label)
        was_training = self.training
        self.eval()
        with torch.no_grad():
            mapped = self._project(label).clone()
        self.train(was_training)
        folded = copy.copy(self)
        folded._modules = {**self._modules, 'projector': None, 'update': None}
        folded._parameters, folded._buffers = {}, {}
        folded = copy.deepcopy(folded)
        folded.projector = PROJECTORS.build(
            dict(type='IdentityProjector'), codebook_size=self.codebook_size, code_dim=self.code_dim
        )
        folded.update = CODEBOOK_UPDATES.build(dict(type='GradientUpdate'))
        folded.init = CODEBOOK_INITS.build(dict(type='UniformInit'))
        folded._ready = True
        config = getattr(self, 'component_config', {})
        kept = {key: value for key, value in config.items() if key not in ('update', 'init')}
        folded.component_config = {**kept, 'projector': {}}
        folded.embedding = nn.Parameter(mapped)
        return folded.eval()

    def _label_to_fold(self, label: int | None) -> int | None:
        choose = getattr(self.projector, 'label_to_fold', None)
        if choose is not None:
            return choose(label)
        if label is not None:
            name = type(self.projector).__name__
            raise UserError(f'VectorQuantizer: {name} has no classes, so fold() takes no label, got {label}; drop it.')
        return None

    @property
    def takes_labels(self) -> bool:
        return getattr(self.projector, 'num_classes', None) is not None

    @property
    def needs_init(self) -> bool:
        if not self._ready:
            self._ready = bool(self.initialized)
        return not self._ready

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._ready = not self.init.needs_init
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def initialize(self, z_ND: Tensor) -> None:
        if not self.init.needs_init:
            raise UserError(
                f'VectorQuantizer: {type(self.init).__name__} does not start from latents; set init to KMeansInit for that.'
            )
        if z_ND.dim() != 2 or z_ND.shape[1] != self.code_dim:
            raise UserError(f'VectorQuantizer: expected latents (N, {self.code_dim}), got {tuple(z_ND.shape)}.')
        if not all_finite(z_ND):
            raise NonFiniteError(
                'VectorQuantizer: the latents that codes should start from are not finite; look at the encoder.'
            )
        self.initialized.fill_(1)
        self.embedding.copy_(self.init.from_latents(self.normalize.latent(z_ND.float()), self.codebook_size))
        self.update.attach(self.embedding, self.normalize, self.distance)

    def adopt_codebook(self) -> None:
        if self.init.needs_init:
            self.initialized.fill_(1)
        self.update.attach(self.embedding, self.normalize, self.distance)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """256 codes of at most 16 channels: patches of any published size still fit."""
        return dict(codebook_size=min(cfg['codebook_size'], 256), code_dim=min(cfg['code_dim'], 16))
