"""Drawing a sequence of codes, one after the other, with a cache: prefill, then a step for each code."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from fvq_core.ops.compile_backend import check_backend

from .layers.kv_cache import KVCache
from .sampling import Pick, SequenceGuidance, check_logits

KEPT_SIZES = 2  # of batches whose compiled steps are kept
Logits = Callable[..., Tensor]


class HasCache(Protocol):
    """A model with memory for that many sequences."""

    def new_cache(self, batch: int) -> KVCache: ...


class CachedModel(HasCache, Protocol):
    """What decoding asks of a model, which is a module."""

    def prefill(
        self,
        cond: Tensor,
        cache: KVCache,
        visible_BT: Tensor | None = None,
        scale: float | Tensor | None = None,
        known_BL: Tensor | None = None,
    ) -> Tensor:
        """Read the condition and the first codes, if some are known; float32 logits (B, V) of the next code, or with the scale
        of guidance (B / 2, V)."""
        ...

    def step(
        self,
        tokens_B: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None = None,
        scale: float | Tensor | None = None,
    ) -> Tensor:
        """Read one code at a position of the cache; float32 logits of the next, as `prefill`."""
        ...


@torch.no_grad()
def decode(
    model: CachedModel,
    cond: Tensor,
    *,
    prefix: int,
    uniforms_BL: Tensor,
    pick: Pick,
    guidance: SequenceGuidance,
    visible_BT: Tensor | None = None,
    steps: StaticSteps | None = None,
    given_BL: Tensor | None = None,
    keep_BL: Tensor | None = None,
) -> Tensor:
    """Codes (B, L), int64.

    A guided code needs the batch twice, with the condition and without; once guidance ends, the second half is left out.

    Args:
        model: Generator in eval mode.
        cond: (B, ...), or (2B, ...) with the null conditions behind, if `guidance` is active.
        prefix: Positions of the condition.
        uniforms_BL: One number in [0, 1) for each code, on the model's device; or (B, L, ...), what `pick` needs of them.
        pick: How a token is chosen.
        guidance: Which codes are guided, and how strongly.
        visible_BT: bool, which positions of the condition and the codes may be attended to, as `cond` has rows; None for all.
        steps: Compiled steps; None runs each operation by itself.
        given_BL, keep_BL: Codes, and which of them are kept instead of drawn; those that all images keep at their start are
            read at once.

    Raises:
        UserError: Logits that are not finite.
    """
    B, L = uniforms_BL.shape[:2]
    known = 0 if keep_BL is None else int(keep_BL.all(0).cumprod(0).sum())
    if known == L:
        return cast(Tensor, given_BL)
    guided = guidance.at(known)
    if guidance.active and not guided:
        cond, visible_BT = cond[:B], None if visible_BT is None else visible_BT[:B]
    cache = model.new_cache(len(cond)) if steps is None else steps.cache(model, len(cond))
    scale = guidance.scale_at(known, L) if guided else None
    if known and given_BL is not None:
        known_BL = given_BL[:, :known]
        logits_BV = model.prefill(cond, cache, visible_BT, scale, known_BL.repeat(2, 1) if guided else known_BL)
    else:
        logits_BV = model.prefill(cond, cache, visible_BT, scale)
    check_logits(logits_BV)
    codes_BL = torch.empty(B, L, dtype=torch.int64, device=uniforms_BL.device) if given_BL is None else given_BL.clone()
    free_BL = None if keep_BL is None else ~keep_BL

    def settle(number: int, drawn_B: Tensor) -> Tensor:
        """What the code of that number becomes."""
        if free_BL is not None:
            drawn_B = torch.where(free_BL[:, number], drawn_B, codes_BL[:, number])
        codes_BL[:, number] = drawn_B
        return drawn_B

    tokens_B = settle(known, pick(logits_BV, uniforms_BL[:, known]))
    for number in range(known + 1, L):
        guided = guidance.at(number)
        if cache.batch != (2 if guided else 1) * B:
            cache = cache.first(B)
            visible_BT = None if visible_BT is None else visible_BT[:B]
        scale = guidance.scale_at(number, L) if guided else None
        inputs = (tokens_B, prefix + number - 1, visible_BT, scale)
        following, uniform_B = following_logits(model, cache, guided), uniforms_BL[:, number]
        if steps is None:
            tokens_B = pick(following(*inputs), uniform_B)
        else:
            tokens_B = steps.find(cache, guided, pick, following)(uniform_B, *inputs)
        tokens_B = settle(number, tokens_B)
    return codes_BL


def following_logits(model: CachedModel, cache: KVCache, guided: bool) -> Logits:
    """A function of tokens, position, `visible_BT` and scale: logits of the codes behind these tokens."""

    def logits(
        tokens_B: Tensor, position: int | Tensor, visible_BT: Tensor | None, scale: float | Tensor | None
    ) -> Tensor:
        return model.step(tokens_B.repeat(2) if guided else tokens_B, cache, position, visible_BT, scale)

    return logits


def pad_rows(x: Tensor, rows: int) -> Tensor:
    """Rows behind x, like its last, up to so many."""
    return x if len(x) == rows else torch.cat([x, x[-1:].expand(rows - len(x), *x.shape[1:])])


class StaticStep:
    """One step in memory of fixed size: logits through `torch.compile`, and on a GPU all of it recorded as a CUDA graph.

    Tokens are picked outside the compiled code and inside the graph: inductor cannot generate a float64 cumulative sum over
    64 rows of 16,384 tokens. Each shape of inputs has a graph of its own; a shape that changes is compiled as a variable.

    Args:
        logits: Gives logits; of what can change it reads its arguments and a cache.
        pick: See `decode`.
        backend: Backend of `torch.compile`.
    """

    def __init__(self, logits: Logits, pick: Pick, backend: str) -> None:
        self.pick, self.compiled = pick, torch.compile(own_code(logits), backend=backend, fullgraph=True)
        self.memory: dict[tuple[Any, ...], list[Tensor | None]] = {}
        self.graphs: dict[tuple[Any, ...], tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, uniforms: Tensor, *inputs: Tensor | float | None) -> Tensor:
        """The next tokens; on a GPU in memory that the next call writes to.

        Args:
            uniforms: What `pick` needs.
            inputs: Arguments of the logits. A number becomes a tensor (1,), which steps of other numbers can share.
        """
        given = (uniforms, *inputs)
        key = tuple(value.shape if isinstance(value, Tensor) else value is None for value in given)
        if key not in self.memory:
            self.memory[key] = [own_memory(value, uniforms.device) for value in given]
        for memory, value in zip(self.memory[key], given, strict=True):
            if isinstance(memory, Tensor) and value is not None:
                memory.copy_(value) if isinstance(value, Tensor) else memory.fill_(value)
        if not uniforms.is_cuda:
            return self._run(key)
        if key not in self.graphs:
            self.graphs[key] = self._record(key)
        graph, result = self.graphs[key]
        graph.replay()
        return result

    def _run(self, key: tuple[Any, ...]) -> Tensor:
        uniforms, *inputs = self.memory[key]
        return self.pick(self.compiled(*inputs), cast(Tensor, uniforms))

    def _record(self, key: tuple[Any, ...]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """A step is repeatable: it writes its own positions of the cache and nothing else."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compiles, and lets libraries take their workspaces before recording
                self._run(key)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = self._run(key)
        return graph, result


def own_memory(value: Tensor | float | None, device: torch.device) -> Tensor | None:
    """Memory for values like this one, on a device."""
    if isinstance(value, Tensor):
        return value.clone()
    return None if value is None else torch.full((1,), value, device=device)


def own_code(function: Logits) -> Logits:
    """The same function with code of its own: dynamo counts recompilations by code, and gives up after a few."""
    made = cast(FunctionType, function)
    code = made.__code__.replace()
    return FunctionType(code, made.__globals__, made.__name__, made.__defaults__, made.__closure__)


class StaticSteps:
    """The compiled steps and caches of one model, kept from one batch to the next. A copy of the model starts without.

    Two sizes of batches are kept; a third replaces the older one. A smaller batch than these runs as a part of one.

    Args:
        backend: Backend of `torch.compile`.
    """

    def __init__(self, backend: str = 'inductor') -> None:
        check_backend('compile', backend)
        self.backend = backend
        self.caches: dict[int, KVCache] = {}
        self.steps: dict[tuple[Any, ...], StaticStep] = {}

    def __reduce__(self) -> tuple[Any, ...]:  # copies and pickles
        return StaticSteps, (self.backend,)

    def cache(self, model: HasCache, rows: int) -> KVCache:
        """A cache of that many rows; its memory is the same each time."""
        cache = self.caches.pop(rows, None)  # and to the end, as the one used last
        if cache is None:
            while len(self.caches) >= KEPT_SIZES:
                old = self.caches.pop(next(iter(self.caches)))
                self.steps = {key: step for key, step in self.steps.items() if key[0] != old.keys.data_ptr()}
            cache = model.new_cache(rows)
        self.caches[rows] = cache
        return cache

    def batch_for(self, batch: int, copies: int) -> int:
        """The smallest batch that is compiled and holds this one of so many copies; this one if there is none."""
        kept = [rows // copies for rows in self.caches if rows >= batch * copies and rows % copies == 0]
        return min(kept, default=batch)

    def find(self, cache: KVCache, guided: bool, pick: Pick, logits: Logits) -> StaticStep:
        """The step of these settings; made of these logits if there is none."""
        key = (cache.keys.data_ptr(), cache.batch, guided, pick)
        if key not in self.steps:
            self.steps[key] = StaticStep(logits, pick, self.backend)
        return self.steps[key]
