"""How one step moves latents, codes and assignments: one-step-behind updates (the paper, appendices D and E)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fvq_core.ops.nearest_code import MAX_SCORES, full_precision, nearest_code, shift


@dataclass(frozen=True)
class Step:
    """The same latents before and after one optimizer step, in the paper's notation of step t.

    Attributes:
        z_old_ND: z_e^(t), which the step was computed from.
        z_new_ND: z_e^(t+1), what the encoder gives for the same images after the step.
        chosen_old_ND: c_x(t)^(t-1) = z_q^(t), the codes that were decoded.
        chosen_new_ND: c_x(t+1)^(t) = z_q^(t+1) (eq. 22), those that the next forward pass decodes.
        switched_ND: c_x(t+1)^(t-1), where the codes of the next choice were before the step.
        kept_ND: c_x(t)^(t), where the codes of the old choice are after the step.
    """

    z_old_ND: Tensor
    z_new_ND: Tensor
    chosen_old_ND: Tensor
    chosen_new_ND: Tensor
    switched_ND: Tensor
    kept_ND: Tensor


def shift_means(step: Step) -> dict[str, Tensor]:
    """Means over latents, scalars; lengths are Euclidean norms in the space of the codes.

    Returns:
        `center_shift`: |z_q^(t+1) - z_q^(t)|, the quantization center shift (eq. 23).
        `codebook_update`: |c_x(t+1)^(t) - c_x(t+1)^(t-1)|, the codebook update effect (eq. 24, first term).
        `cluster_switching`: |c_x(t+1)^(t-1) - c_x(t)^(t-1)|, the cluster switching (eq. 24, second term). The two sum to
        no less than `center_shift` (eq. 25).
        `latent_shift`: |z_e^(t+1) - z_e^(t)|.
        `one_step_behind`: eq. 6 moves a code by eta (z_e^(t) - z_q^(t)), the ideal eq. 7 by eta (z_e^(t+1) - z_q^(t)).
        This is the length of their difference over the length of what is done, |z_e^(t+1) - z_e^(t)| /
        |z_e^(t) - z_q^(t)|, of means: eta cancels. 0: codes chase latents that stand still.
        `lag`: mean squared distance of the updated codes to the latents that they will meet over that to the latents
        that they were pulled to, |c_x(t)^(t) - z_e^(t+1)|^2 / |c_x(t)^(t) - z_e^(t)|^2. 1: no matter which.
    """
    latent_shift = mean_norm(step.z_new_ND - step.z_old_ND)
    to_new, to_old = ((step.kept_ND - z_ND).square().sum(1).mean() for z_ND in (step.z_new_ND, step.z_old_ND))
    return {
        'center_shift': mean_norm(step.chosen_new_ND - step.chosen_old_ND),
        'codebook_update': mean_norm(step.chosen_new_ND - step.switched_ND),
        'cluster_switching': mean_norm(step.switched_ND - step.chosen_old_ND),
        'latent_shift': latent_shift,
        'one_step_behind': latent_shift / mean_norm(step.z_old_ND - step.chosen_old_ND),
        'lag': to_new / to_old,
    }


def mean_norm(x_ND: Tensor) -> Tensor:
    """The mean length of vectors, a scalar."""
    return x_ND.norm(dim=1).mean()


def largest_shift(old_ND: Tensor, new_ND: Tensor) -> Tensor:
    """The largest move of a vector: delta_z of the latents, delta_c of the codebook (eq. 26)."""
    return (new_ND - old_ND).norm(dim=1).max()


def chooses_nearest(step: Step, codebook_KD: Tensor) -> bool:
    """Whether z_q^(t) holds the nearest of at least two codes C^(t-1), up to float32's rounding: what appendix E assumes."""
    if len(codebook_KD) < 2 or codebook_KD.shape[1] != step.z_old_ND.shape[1]:
        return False
    nearest_ND = codebook_KD[nearest_code(step.z_old_ND, codebook_KD)]
    nearest_N, chosen_N = ((step.z_old_ND - codes_ND).norm(dim=1) for codes_ND in (nearest_ND, step.chosen_old_ND))
    return bool((chosen_N <= nearest_N * (1 + 1e-3) + 1e-6).all())


@torch.no_grad()
def assignment_margin(z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
    """m^(t), how much farther the second-nearest code is than the nearest (eq. 27).

    A latent whose margin is above 2 delta_z keeps its code while the codes stand still. The two candidates are found by
    matrix products in chunks, their distances exactly.

    Args:
        z_ND: z_e^(t).
        codebook_KD: C^(t-1), of at least two codes.

    Returns:
        (N,), 0 or more.
    """
    rows = max(1, MAX_SCORES.get(z_ND.device.type, MAX_SCORES['cpu']) // len(codebook_KD))
    with full_precision(z_ND.device.type):
        if (shift_D := shift(codebook_KD)) is not None:
            z_ND, codebook_KD = z_ND - shift_D, codebook_KD - shift_D
        z_ND, codebook_KD = z_ND.float(), codebook_KD.float()
        bias_K = codebook_KD.square().sum(1).mul_(-0.5)
        found = [torch.addmm(bias_K, z, codebook_KD.t()).topk(2).indices for z in z_ND.split(rows)]
    distances_N2 = (codebook_KD[torch.cat(found)] - z_ND[:, None]).norm(dim=2)
    return (distances_N2[:, 1] - distances_N2[:, 0]).clamp_min(0.0)
