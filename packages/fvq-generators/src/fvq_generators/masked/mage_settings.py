"""How MAGE draws: as MaskGIT, with other defaults and guidance that ends at its whole scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fvq_core.sampling_settings import setting

from ..sampling import SCHEDULES
from .settings import MaskedSampling, Step

STEPS = 20  # over the 256 codes of the released models


@dataclass(frozen=True)
class MAGESampling(MaskedSampling):
    """As `MaskedSampling`, with guidance that has its whole scale in the last pass."""

    steps: int = setting(0, f'decoding steps per image; 0: {STEPS}, or one per code if fewer', least=1, also=(0,))
    choice_temperature: float = setting(
        6.0, 'temperature of the Gumbel noise on confidence, annealed to 0 at the last step; 11 for RCG-L', least=0
    )
    cfg_schedule: str = setting('linear', 'schedule of the guidance scale over the image', choices=SCHEDULES)

    def plan(self, trained: str, length: int) -> list[Step]:
        steps = self.steps or min(STEPS, length)
        planned = super(MAGESampling, replace(self, steps=steps)).plan(trained, length)
        return [replace(step, scale=self.scale_at(number, steps + 1)) for number, step in enumerate(planned, 1)]
