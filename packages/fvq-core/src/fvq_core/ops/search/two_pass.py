"""Launches the kernels of the search: float16 tensor cores first, float32 for rows it leaves in doubt, float64 to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import kernels as triton_kernels
from .margin import SLACK, UNIT, float32_error, rescoring_error, tensor_core_error
from .plain import SearchStats
from .shift import shift, some_codes

HALF_CHANNELS = 17  # from here on float16; fewer channels leave too many tiles in doubt, and float32 is as fast
HALF_ROWS = 257  # from here on; fewer do not pay for rounding the codebook
TILE_SCORES = 2**26  # tiles' maxima held at once: 256 MiB
LISTED_SPLITS = 32  # of the codes among programs, for rows in doubt, of which there are mostly few

kernels: Any = triton_kernels  # launched with numbers where they declare constants


def ceil_div(number: int, by: int) -> int:
    return -(-number // by)


def power_of_two(number: int) -> int:
    """The least that is not below `number`."""
    return 1 << max(0, number - 1).bit_length()


@dataclass(frozen=True)
class Blocks:
    """What a program of the first pass holds: BM rows, BN codes, BD channels."""

    BM: int
    BN: int
    BD: int
    warps: int
    stages: int


def half_blocks(D: int, shared_memory: int) -> Blocks:
    """For float16; the answer is the same for any. All channels of a row stay in place if they fit."""
    width = max(16, power_of_two(D))
    if width > 256:
        return Blocks(128, 128, 64, 8, 3)
    roomy = 2 * width * (128 + 2 * 128) <= shared_memory
    return Blocks(128, 128 if roomy else 64, width, 8, 2)


def float32_blocks(D: int, BN: int) -> Blocks:
    """For float32, with as many codes as float16's blocks have, so that tiles are the same."""
    return Blocks(32, BN, 16 if D <= 16 else 32, 4, 2)


@dataclass
class Side:
    """Latents or codes, scaled and measured."""

    given: Tensor
    half: Tensor
    exponents: Tensor
    norms: Tensor
    residuals: Tensor
    bias: Tensor


def scaled(x_ND: Tensor, rows: int, DP: int, shift_D: Tensor | None, exponent: Tensor, **flags: Any) -> Side:
    """Run `scale_rows`, with outputs for `rows` rows of DP channels."""
    (N, D), empty = x_ND.shape, x_ND.new_empty
    float32, half = torch.float32, flags['HALF']
    side = Side(
        x_ND,
        empty((rows, DP) if half else (0, 0), dtype=torch.float16),
        empty(N, dtype=torch.int32),
        empty(rows, dtype=float32),
        empty(rows if half else 0, dtype=float32),
        empty(rows if flags['CODES'] else 0, dtype=float32),
    )
    BD = max(16, power_of_two(D), DP if half else 0)
    BR = max(1, min(16, 4096 // BD))
    kernels.scale_rows[(ceil_div(rows, BR),)](
        x_ND, exponent if shift_D is None else shift_D, exponent, side.half, side.exponents, side.norms, side.residuals,
        side.bias, N, 1 + SLACK * (D + 8) * UNIT, D * 2.0**-62,
        D=D, DP=DP, BR=BR, BD=BD, SHIFTED=shift_D is not None, **flags,
    )  # fmt: skip
    return side


def by_tiles(values_K: Tensor, BN: int) -> Tensor:
    """The largest of each tile."""
    return values_K.view(-1, BN // 8, 4, 2).amax((1, 3)).flatten()


class TwoPass:
    """A codebook made ready for `search`."""

    def __init__(self, codebook_KD: Tensor, distance: str, half: bool, blocks: Blocks, tile_scores: int) -> None:
        self.distance, self.half, self.blocks = distance, half, blocks
        K, D = codebook_KD.shape
        self.width = ceil_div(D, blocks.BD) * blocks.BD
        self.shift_D = shift(codebook_KD)
        few = some_codes(codebook_KD if self.shift_D is None else codebook_KD - self.shift_D)
        middle = few.abs().amax(1).sort().values[len(few) // 2 :][:1]
        self.exponent = (1 - torch.frexp(middle).exponent).clamp_(-126, 127).to(torch.int32)
        length = middle.new_zeros(1) if self.shift_D is None else self.shift_D.norm().mul_(SLACK)[None]
        self.shift_norm = torch.ldexp(length, self.exponent)
        rows = ceil_div(K, blocks.BN) * blocks.BN
        self.flags: dict[str, Any] = dict(L2=distance == 'l2', HALF=half)
        self.codes = scaled(codebook_KD, rows, self.width, self.shift_D, self.exponent, CODES=True, **self.flags)
        self.tile_norms = by_tiles(self.codes.norms, blocks.BN)
        self.tile_residuals = by_tiles(self.codes.residuals, blocks.BN) if half else self.tile_norms
        self.tiles = len(self.tile_norms)
        self.rows_at_once = max(1, tile_scores // self.tiles // blocks.BM) * blocks.BM
        self.processors = 4
        if codebook_KD.is_cuda:
            self.processors = torch.cuda.get_device_properties(codebook_KD.device).multi_processor_count

    def search(self, z_ND: Tensor, indices_N: Tensor, upper: Tensor, counts: Tensor, limit: int) -> None:
        """Write the codes of a chunk of rows, and count rows in doubt and tiles compared."""
        N, BM = len(z_ND), self.blocks.BM
        z_shift_D = self.shift_D if self.distance == 'l2' else None
        latents = scaled(z_ND, ceil_div(N, BM) * BM, self.width, z_shift_D, self.exponent, CODES=False, **self.flags)
        slow_rows, total = counts.new_empty(N), counts.clone()
        counts.zero_()
        splits = max(1, min(self.tiles // 4, self.processors // ceil_div(N, BM)))
        self.passes(latents, indices_N, upper, slow_rows, counts, limit, self.blocks, splits, self.half, listed=False)
        blocks = float32_blocks(z_ND.shape[1], self.blocks.BN)
        splits = min(self.tiles // 4, LISTED_SPLITS)
        self.passes(latents, indices_N, upper, slow_rows, counts, limit, blocks, splits, half=False, listed=True)
        counts += total

    def passes(
        self, latents: Side, indices_N: Tensor, upper: Tensor, slow_rows: Tensor, counts: Tensor, limit: int,
        blocks: Blocks, splits: int, half: bool, listed: bool,
    ) -> None:  # fmt: skip
        """Both passes over all rows, or over those in doubt."""
        (N, D), (K, _) = latents.given.shape, self.codes.given.shape
        per_split = ceil_div(self.tiles // 4, splits)
        lower = latents.norms.new_empty(splits, N).fill_(-torch.inf)
        shift_D = self.exponent if self.shift_D is None else self.shift_D
        kernels.tile_maxima[(ceil_div(N, blocks.BM), splits)](
            latents.given, latents.half, self.codes.given, self.codes.half, shift_D, self.shift_norm, self.exponent,
            latents.exponents, latents.norms, latents.residuals, self.codes.bias, self.tile_norms, self.tile_residuals,
            slow_rows, counts, upper, lower, N, K, self.tiles, per_split,
            tensor_core_error(D) if half else float32_error(D), float32_error(D), rescoring_error(D),
            D=D, DP=self.width if half else ceil_div(D, blocks.BD) * blocks.BD, BM=blocks.BM, BN=blocks.BN,
            BD=blocks.BD, HALF=half, L2=self.flags['L2'], Z_SHIFTED=self.shift_D is not None and self.flags['L2'],
            SHIFTED=self.shift_D is not None, LISTED=listed, num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip
        kernels.rescore_tiles[(N,)](
            latents.given, self.codes.given, self.exponent, latents.exponents, latents.norms, slow_rows, counts,
            upper, lower, indices_N, slow_rows, counts, N, K, self.tiles, splits, limit, SLACK * rescoring_error(D),
            D=D, BN=blocks.BN, BW=min(1024, power_of_two(self.tiles)), BS=power_of_two(splits),
            L2=self.flags['L2'], LISTED=listed, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip


@torch.no_grad()
def two_pass_search(
    z_ND: Tensor, codebook_KD: Tensor, distance: str, tile_scores: int = TILE_SCORES, limit: int | None = None
) -> tuple[Tensor, SearchStats]:
    """The best codes, (N,), and what that took; no step waits for the device.

    Args:
        tile_scores: Tiles' maxima held at once.
        limit: Tiles that a row may keep before float32 searches it again; by default an eighth of all.
    """
    z_ND, codebook_KD = z_ND.detach().contiguous(), codebook_KD.detach().contiguous()
    (N, D), counts = z_ND.shape, torch.zeros(2, dtype=torch.int32, device=z_ND.device)
    indices_N = z_ND.new_empty(N, dtype=torch.int64)
    half = D >= HALF_CHANNELS and N >= HALF_ROWS
    with torch.cuda.device_of(z_ND):
        memory = 2**20
        if z_ND.is_cuda:
            properties: Any = torch.cuda.get_device_properties(z_ND.device)
            memory = properties.shared_memory_per_block_optin
        blocks = half_blocks(D, memory) if half else float32_blocks(D, 128)
        codes = TwoPass(codebook_KD, distance, half, blocks, tile_scores)
        limit = max(8, codes.tiles // 8) if limit is None else limit
        upper = z_ND.new_empty(min(N, codes.rows_at_once) * codes.tiles, dtype=torch.float32)
        for z, indices in zip(z_ND.split(codes.rows_at_once), indices_N.split(codes.rows_at_once), strict=True):
            codes.search(z, indices, upper, counts, limit)
    return indices_N, SearchStats(counts[0], counts[1])
