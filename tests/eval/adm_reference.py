"""guided-diffusion's evaluator from its description, in plain NumPy: N x M matrices, no tricks."""

from __future__ import annotations

import numpy as np
from scipy import linalg

Array = np.ndarray
SQUARE = 10_000  # side of the matrices that the evaluator takes together


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def inception_score(logits: Array, split_size: int) -> float:
    """Consecutive splits, the last one shorter; everything in the type of the logits."""
    p, scores = softmax(logits), []
    for start in range(0, len(p), split_size):
        part = p[start : start + split_size]
        divergence = (part * (np.log(part) - np.log(part.mean(0, keepdims=True)))).sum(1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores))


def frechet(a: Array, b: Array) -> float:
    """From features, by the root of the product of the covariances."""
    difference = a.mean(0) - b.mean(0)
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(sigma_a @ sigma_b).real
    return float(difference @ difference + np.trace(sigma_a) + np.trace(sigma_b) - 2 * np.trace(root))


def distances(u: Array, v: Array) -> Array:
    """Squared, in the type of the features; products are summed in float32 and rounded once."""
    uu = np.square(u).sum(1, dtype=np.float32).astype(u.dtype)
    vv = np.square(v).sum(1, dtype=np.float32).astype(u.dtype)
    products = (u.astype(np.float32) @ v.astype(np.float32).T).astype(u.dtype)
    return np.maximum(uu[:, None] - 2 * products + vv[None], 0)


def distances_like_adm(u: Array, v: Array) -> Array:
    """In float16, or in float32 where float16 overflows."""
    with np.errstate(over='ignore', invalid='ignore'):
        half = distances(u.astype(np.float16), v.astype(np.float16))
    return half.astype(np.float32) if np.isfinite(half).all() else distances(u, v)


def precision_recall(reference: Array, samples: Array, k: int, half: bool) -> tuple[float, float]:
    """Of at most `SQUARE` vectors a set."""
    assert max(len(reference), len(samples)) <= SQUARE
    between = distances_like_adm if half else distances
    radii_r = np.sort(between(reference, reference), 1)[:, k]
    radii_s = np.sort(between(samples, samples), 1)[:, k]
    matrix = between(samples, reference)
    return float((matrix <= radii_r).any(1).mean()), float((matrix <= radii_s[:, None]).any(0).mean())
