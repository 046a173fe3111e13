"""Launches the search's kernels: float16 tensor cores, float32 and float64 for rows left in doubt, and float64 to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from . import kernels as triton_kernels
from .margin import SLACK, UNIT, float32_error, float64_error, rescoring_error, tensor_core_error
from .plain import SearchStats
from .rescore import first_with_key
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


def float64_blocks(BN: int) -> Blocks:
    """For float64, with the same tiles."""
    return Blocks(64, BN, 16, 8, 2)


@dataclass
class Side:
    """Latents or codes, scaled and measured."""

    given: Tensor
    half: Tensor
    exponents: Tensor
    norms: Tensor
    residuals: Tensor
    bias: Tensor


def scaled(
    x_ND: Tensor, rows: int, DP: int, shift_D: Tensor | None, exponent: Tensor, firsts: Tensor, **flags: Any
) -> Side:
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
        side.bias, firsts, N, 1 + SLACK * (D + 8) * UNIT, D * 2.0**-62,
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
        self.firsts = first_with_key(codebook_KD.float().mv(torch.linspace(1, 2, D, device=codebook_KD.device)))
        operands = codebook_KD, rows, self.width, self.shift_D, self.exponent, self.firsts
        self.codes = scaled(*operands, CODES=True, **self.flags)
        self.tile_norms = by_tiles(self.codes.norms, blocks.BN)
        self.tile_residuals = by_tiles(self.codes.residuals, blocks.BN) if half else self.tile_norms
        self.tiles = len(self.tile_norms)
        self.rows_at_once = max(1, tile_scores // self.tiles // blocks.BM) * blocks.BM
        self.processors = 4
        if codebook_KD.is_cuda:
            self.processors = torch.cuda.get_device_properties(codebook_KD.device).multi_processor_count

    def search(self, z_ND: Tensor, indices_N: Tensor, upper: Tensor, counts: Tensor, limit: int) -> None:
        """Write the codes of a chunk of rows.

        Args:
            counts: Int32: rows that the first pass and the second left in doubt, and tiles compared; added to.
        """
        N, BM = len(z_ND), self.blocks.BM
        z_shift_D = self.shift_D if self.distance == 'l2' else None
        operands = z_ND, ceil_div(N, BM) * BM, self.width, z_shift_D, self.exponent, self.firsts
        latents = scaled(*operands, CODES=False, **self.flags)
        lists, base = counts.new_empty(2, N), latents.norms.new_empty(N)
        before = counts[:2].clone()
        counts[:2].zero_()
        common = latents, indices_N, upper, base, counts[2:], limit
        (first, second), (in_first, in_second) = lists, counts[:2].split(1)
        listed = min(self.tiles // 4, LISTED_SPLITS)
        splits = max(1, min(self.tiles // 4, self.processors // ceil_div(N, BM)))
        self.passes(*common, 'float16' if self.half else 'float32', splits, None, (first, in_first))
        if self.half:
            self.passes(*common, 'float32', listed, (first, in_first), (second, in_second))
        else:
            (second, in_second) = (first, in_first)
        self.passes(*common, 'float64', listed, (second, in_second), (first, in_first))
        counts[:2] += before

    def passes(
        self, latents: Side, indices_N: Tensor, upper: Tensor, base: Tensor, compared: Tensor, limit: int,
        kind: Literal['float16', 'float32', 'float64'], splits: int,
        listed: tuple[Tensor, Tensor] | None, left: tuple[Tensor, Tensor],
    ) -> None:  # fmt: skip
        """Scores of a kind, and float64 for the tiles that they keep.

        Args:
            listed: The rows to search and their number; None for all.
            left: Where rows are listed that keep more than `limit` tiles, and their number.
        """
        (N, D), (K, _) = latents.given.shape, self.codes.given.shape
        half, double = kind == 'float16', kind == 'float64'
        blocks = self.blocks
        if listed is not None:
            blocks = float64_blocks(blocks.BN) if double else float32_blocks(D, blocks.BN)
        per_split = ceil_div(self.tiles // 4, splits)
        lower = latents.norms.new_empty(splits, N).fill_(-torch.inf)
        shift_D = self.exponent if self.shift_D is None else self.shift_D
        rows, count = left if listed is None else listed
        error = float64_error(D) if double else float32_error(D)
        flags = dict(L2=self.flags['L2'], LISTED=listed is not None, DOUBLE=double)
        kernels.tile_maxima[(ceil_div(N, blocks.BM), splits)](
            latents.given, latents.half, self.codes.given, self.codes.half, shift_D, self.shift_norm, self.exponent,
            latents.exponents, latents.norms, latents.residuals, self.codes.bias, self.tile_norms, self.tile_residuals,
            rows, count, base, upper, lower, N, K, self.tiles, per_split,
            tensor_core_error(D) if half else error, error, rescoring_error(D),
            D=D, DP=self.width if half else ceil_div(D, blocks.BD) * blocks.BD, BM=blocks.BM, BN=blocks.BN,
            BD=blocks.BD, HALF=half, Z_SHIFTED=self.shift_D is not None and self.flags['L2'],
            SHIFTED=self.shift_D is not None, num_warps=blocks.warps, num_stages=blocks.stages, **flags,
        )  # fmt: skip
        kernels.rescore_tiles[(N,)](
            latents.given, self.codes.given, self.exponent, latents.exponents, latents.norms, rows, count, base,
            upper, lower, indices_N, *left, compared, N, K, self.tiles, splits, limit, SLACK * rescoring_error(D),
            D=D, BN=blocks.BN, BW=min(1024, power_of_two(self.tiles)), BS=power_of_two(splits),
            num_warps=4, enable_fp_fusion=False, **flags,
        )  # fmt: skip


@torch.no_grad()
def two_pass_search(
    z_ND: Tensor, codebook_KD: Tensor, distance: str, tile_scores: int = TILE_SCORES, limit: int | None = None
) -> tuple[Tensor, SearchStats]:
    """The best codes, (N,), and what that took; no step waits for the device.

    Args:
        tile_scores: Tiles' maxima held at once.
        limit: Tiles that a row may keep before it is searched again, in float32, then in float64; by default an eighth of all.
    """
    z_ND, codebook_KD = z_ND.detach().contiguous(), codebook_KD.detach().contiguous()
    (N, D), counts = z_ND.shape, torch.zeros(3, dtype=torch.int32, device=z_ND.device)
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
    return indices_N, SearchStats(counts[0], counts[2])
