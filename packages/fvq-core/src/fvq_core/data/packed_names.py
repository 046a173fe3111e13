"""A million file names without a million Python objects."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np


class PackedNames:
    """Strings in one buffer, read one at a time.

    Loader processes share the memory of their parent until someone writes to it, and Python writes to an object whenever
    it is read, to count references: a list of a million names would be copied into every worker, page by page.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        self.text = text  # the encoded strings, one after another, uint8
        self.ends = ends  # index behind the last byte of each, int64

    @classmethod
    def pack(cls, names: Iterable[str]) -> PackedNames:
        """From strings; file names survive whatever their encoding."""
        encoded = [os.fsencode(name) for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b''.join(encoded), dtype=np.uint8), ends)

    @classmethod
    def join(cls, parts: Sequence[PackedNames]) -> PackedNames:
        """The strings of several buffers, in order."""
        starts = np.cumsum([0, *(len(part.text) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
        return cls(np.concatenate([part.text for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.text[start : self.ends[index]].tobytes())
