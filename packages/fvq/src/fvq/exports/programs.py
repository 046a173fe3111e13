"""Encoding and decoding as exported programs of plain torch operators, which need none of our code."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError

from .graphs import Decode, Encode, Sizes, side_multiple

HALVES = ('encode', 'decode')
INPUTS = dict(encode='images', decode='codes')
NEAR = 8  # codes that the rounding of scores may confuse
NOTES = ('stack_trace', 'nn_module_stack', 'source_fn_stack', 'torch_fn', 'from_node')  # paths and names of our source


def plain_search(z_ND: Tensor, codebook_KD: Tensor, distance: str, max_scores: int | None) -> Tensor:
    """`nearest_code` in a few float32 operators: the first of the codes with the best score.

    Scores are z.c, for l2 (z - m).(c - m) - |c - m|^2 / 2 with m the mean code, which keeps their rounding small. It is still
    of the order of |z - m|^2, and of a well-trained tokenizer the squared distances that decide are a thousandth of that and
    less. So the codes with the `NEAR` best scores are compared again by the sum of squared differences, whose rounding is of
    the order of the distance itself. Float64 decides nothing here: of two codes at nearly the same distance the other one may
    win.
    """
    if distance == 'dot':
        return (z_ND @ codebook_KD.t()).argmax(1)
    K, mean_D = len(codebook_KD), codebook_KD.mean(0)
    codes_KD = codebook_KD - mean_D
    scores_NK = torch.addmm(codes_KD.square().sum(1) * -0.5, z_ND - mean_D, codes_KD.t())
    near = scores_NK.topk(min(NEAR, K), 1).indices
    distances = (z_ND[:, None] - codebook_KD[near]).square().sum(2)
    return torch.where(distances == distances.amin(1, keepdim=True), near, K).amin(1)


def in_half(autoencoder: Autoencoder) -> Autoencoder:
    """A copy whose networks compute in float16; a quantizer, its codebook and its search stay float32."""
    return copy.deepcopy(autoencoder).half()


def export_programs(autoencoder: Autoencoder, sizes: Sizes) -> dict[str, ExportedProgram]:
    """A program of each of `HALVES`, with any batch and, unless `sizes.fixed`, any sides that can be encoded.

    Raises:
        UserError: Part of it cannot be traced, or needs an operator of ours.
    """
    images = torch.zeros(2, autoencoder.encoder.in_channels, sizes.height, sizes.width)
    layout = sizes.layout
    latent = isinstance(layout, LatentLayout)
    given = torch.zeros(2, *layout.shape) if latent else torch.zeros(2, *layout.shape, dtype=torch.int64)
    batch, grid = Dim('batch', min=1), (Dim('height', min=1), Dim('width', min=1))
    spatial: list[dict[int, Any]] = [{0: batch}, {0: batch}]
    if not sizes.fixed:
        step, first = side_multiple(autoencoder), 2 if latent else 1
        spatial[0] |= {axis: step * side for axis, side in zip((2, 3), grid, strict=True)}
        spatial[1] |= dict(zip((first, first + 1), grid, strict=True))
    halves: list[tuple[nn.Module, Tensor]] = [
        (Encode(autoencoder), images),
        (Decode(autoencoder, layout), given),
    ]
    return {
        name: trace(module.eval(), example, dynamic)
        for name, (module, example), dynamic in zip(HALVES, halves, spatial, strict=True)
    }


def trace(module: nn.Module, example: Tensor, dynamic: dict[int, Any]) -> ExportedProgram:
    """The program of a function of one tensor, free of our operators and of notes about our source."""
    owner = type(module).__name__
    try:
        with torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=(dynamic,))
    except UserError:
        raise
    except Exception as error:  # the tracer raises its own, the compiler's and whatever traced code raises
        first = ' '.join((str(error).splitlines() or [''])[0].split())
        raise UserError(f'{owner}: torch.export cannot trace it ({type(error).__name__}: {first[:200]}).') from error
    search: Any = torch.ops.fvq.nearest_code.default
    if any(node.target is search for node in program.graph.nodes):
        program = program.run_decompositions({search: plain_search})
    ours = sorted({str(node.target) for node in program.graph.nodes if str(node.target).startswith('fvq.')})
    if ours:
        raise UserError(f'{owner}: the operator {ours[0]} is only in FVQ; set FVQ_KERNELS=off.')
    for part in program.graph_module.modules():
        for node in getattr(part, 'graph', torch.fx.Graph()).nodes:
            for note in NOTES:
                node.meta.pop(note, None)
    return program
