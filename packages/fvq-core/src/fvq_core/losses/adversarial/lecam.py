"""LeCAM: real logits stay near the running mean of fake ones, and vice versa (Tseng et al., CVPR 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.ranks import average_over_ranks
from ...registry import LOSSES


@LOSSES.register_module()
class LeCAM(nn.Module):
    """weight * (mean of (D(x) - a_fake)^2 over real images + mean of (a_real - D(x))^2 over fakes).

    a_real and a_fake are exponential moving averages of the mean logits over all ranks; they start at 0 and are updated
    before the penalty is computed, as in Open-MAGVIT2 and IBQ, in each call in train mode, hence with each micro-batch.

    Args:
        weight: Weight of the term; 0.05 in Open-MAGVIT2 and IBQ.
        one_sided: Penalize only real logits above a_fake and fake logits below a_real, as in the authors' code,
            Open-MAGVIT2 and IBQ; False is the paper's eq. 3.
        batch_means: Penalize the mean logits of this rank's batch instead of each logit, and update the averages after, as
            TiTok does.

    Attributes:
        means: (2,): a_real and a_fake.
    """

    means: Tensor

    def __init__(
        self, weight: float = 0.05, decay: float = 0.999, one_sided: bool = True, batch_means: bool = False
    ) -> None:
        super().__init__()
        self.weight, self.decay, self.one_sided, self.batch_means = weight, decay, one_sided, batch_means
        self.register_buffer('means', torch.zeros(2))

    def forward(self, logits_real: Tensor, logits_fake: Tensor) -> Tensor:
        before = self.means.clone()
        if self.training:
            batch = torch.stack([logits_real.detach().mean(), logits_fake.detach().mean()])
            average_over_ranks([batch])
            self.means.lerp_(batch, 1 - self.decay)
        mean_real, mean_fake = before if self.batch_means else self.means
        if self.batch_means:
            logits_real, logits_fake = logits_real.mean(), logits_fake.mean()
        real, fake = logits_real - mean_fake, mean_real - logits_fake
        if self.one_sided:
            real, fake = F.relu(real), F.relu(fake)
        return self.weight * (real.square().mean() + fake.square().mean())

    def extra_repr(self) -> str:
        options = f'one_sided={self.one_sided}, batch_means={self.batch_means}'
        return f'weight={self.weight}, decay={self.decay}, {options}'
