"""What a projector costs: multiply-accumulates of mapping the codebook once, and parameters."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.metric import Metric, MetricValue
from fvq_core.projector import find_projectors
from fvq_core.registry import METRICS

PROTOCOL = 'as in table 10: multiply-accumulates of linear maps and matrix products, the codebook mapped once'


@METRICS.register_module()
class ProjectorCost(Metric):
    """`projector_macs` (MAC) and `projector_parameters`, over all projectors of the quantizer; images play no part.

    Both are 0 for a quantizer without a projector and for the identity.
    """

    needs_codes = True

    def reset(self, autoencoder: Autoencoder) -> None:
        self.macs = self.parameters = 0
        for projector in find_projectors(autoencoder.require_quantizer(type(self).__name__)):
            count = sum(parameter.numel() for parameter in projector.parameters())
            self.parameters += count
            if count:
                from ..flops import projector_flops  # fvcore, which takes a second to import

                with torch.random.fork_rng(devices=[]):
                    self.macs += projector_flops(copy.deepcopy(projector))

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        """Nothing: the cost does not depend on images."""

    def statistics(self) -> list[Tensor]:
        return []

    def compute(self) -> dict[str, MetricValue]:
        return {
            'projector_macs': MetricValue(self.macs, 'MAC', PROTOCOL, 0),
            'projector_parameters': MetricValue(self.parameters, '', 'weights and biases of the projector', 0),
        }
