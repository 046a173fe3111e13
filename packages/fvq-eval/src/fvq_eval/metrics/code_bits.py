"""How many bits the codes of an image take, and how many they carry."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.metric import Metric, MetricValue
from fvq_core.ops.codebook_statistics import perplexity
from fvq_core.registry import METRICS

MAX_COUNTS = 2**27  # int32: half a GiB
ENOUGH = 10  # images for each value of a code: the entropy is then about (V - 1) / 2N nats, 0.07 bits, too small
NOMINAL = 'log2 of the vocabulary, summed over the codes of an image'
EFFECTIVE = 'log2 of the perplexity of a slot over all positions, summed over the codes of an image'
BY_POSITION = 'log2 of the perplexity of a code at its position, summed over the codes of an image'


@METRICS.register_module()
class CodeBits(Metric):
    """The rate of a tokenizer: reconstructions are comparable at equal bits.

    `bits_per_image`: log2 of the vocabulary, summed over the codes of an image. `bits_per_pixel`: the same over height x width.
    `effective_bits_per_image`: with the perplexity in place of the vocabulary, as many as an entropy coder needs that knows
    how often each code occurs. `effective_bits_by_position`: one that knows it for each position; no value if codes x
    vocabulary is over 2^27. Entropies of few images are too small.

    Args:
        preset: Name of the preset, which decides only which crops are encoded.
    """

    needs_codes = True

    def __init__(self, preset: str = 'strict') -> None:
        self.preset = preset

    def reset(self, autoencoder: Autoencoder) -> None:
        self.vocabularies = autoencoder.require_quantizer(type(self).__name__).vocabularies
        self.samples = torch.zeros(1, dtype=torch.int64, device=next(autoencoder.parameters()).device)
        self.allocate(0, 0)

    def allocate(self, length: int, pixels: int) -> None:
        """A row of the histogram for each code of an image, or for each slot if those would be too many."""
        slots, vocabulary = len(self.vocabularies), max(self.vocabularies)
        self.length, self.pixels = length, pixels
        rows = length if length * vocabulary <= MAX_COUNTS else slots
        self.counts_RV = torch.zeros(rows, vocabulary, dtype=torch.int32, device=self.samples.device)

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        assert output.codes is not None  # check_metrics has refused continuous autoencoders
        indices_BL = output.codes.indices_BL
        if not self.length:
            self.allocate(indices_BL.shape[1], images_BCHW.shape[2:].numel())
        rows, vocabulary = self.counts_RV.shape
        row_L = torch.arange(self.length, device=indices_BL.device) % rows
        at = (row_L * vocabulary + indices_BL).flatten()
        self.counts_RV.view(-1).index_add_(0, at, torch.ones_like(at, dtype=torch.int32))
        self.samples += len(images_BCHW)

    def statistics(self) -> list[Tensor]:
        return [self.counts_RV, self.samples]

    def reduce(self) -> None:
        if dist.is_initialized():  # a rank without images has no histogram yet
            shape = torch.tensor([self.length, self.pixels], device=self.samples.device)
            dist.all_reduce(shape, dist.ReduceOp.MAX)
            if not self.length:
                self.allocate(*shape.tolist())
        super().reduce()

    def compute(self) -> dict[str, MetricValue]:
        if not self.length:
            return {}
        slots, samples = len(self.vocabularies), int(self.samples)
        positions = self.length // slots
        counts = (samples, samples * self.length, self.preset)
        by_slot = self.counts_RV.view(-1, slots, self.counts_RV.shape[1]).sum(0)
        nominal = positions * sum(map(math.log2, self.vocabularies))
        values = {
            'bits_per_image': MetricValue(nominal, 'bits', NOMINAL, *counts),
            'bits_per_pixel': MetricValue(nominal / self.pixels, 'bits', f'{NOMINAL}, over its pixels', *counts),
            'effective_bits_per_image': self.entropy(by_slot, positions, EFFECTIVE, positions * samples),
        }
        if len(self.counts_RV) == self.length:
            values['effective_bits_by_position'] = self.entropy(self.counts_RV, 1, BY_POSITION, samples)
        return values

    def entropy(self, counts_RV: Tensor, times: int, protocol: str, seen: int) -> MetricValue:
        """Bits of an image whose codes have these counts, of `seen` codes a row, `times` each."""
        bits = times * sum(math.log2(perplexity(row_V)) for row_V in counts_RV)
        vocabulary, samples = counts_RV.shape[1], int(self.samples)
        too_few = None
        if seen < ENOUGH * vocabulary:
            too_few = f'{seen:,} codes of up to {vocabulary:,} values show an entropy that is too small'
        return MetricValue(bits, 'bits', protocol, samples, samples * self.length, self.preset, too_few=too_few)
