"""Writing a store of codes, shard by shard, by any number of processes, with any number of interruptions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.json import read_json

from ..planned_folder import LOCK_NAME, PlannedFolder
from .manifest import LABELS_NAME, MANIFEST_NAME, Manifest, Shard, read_manifest


class CodesWriter(PlannedFolder):
    """A folder that becomes a store.

    A shard covers a fixed range of the source's images and is written whole: first the codes, then a note of which
    images they belong to, which is what counts as done. `finish` turns the notes into labels and manifest and removes
    them. So what a store holds depends neither on the number of processes nor on how often they were killed.

    Args:
        root: The folder.
        plan: The manifest of the store to be, not complete.
    """

    activity = 'extracts codes into'
    intact = 'What was written before is kept: make room and run the same command again.'
    plan: Manifest

    def files(self) -> int:
        return self.plan.number_of_shards

    def is_done(self, number: int) -> bool:
        return self._note(number).exists()

    def open(self) -> list[int]:
        """See `PlannedFolder`; there is nothing to be made if the store is complete."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f'{self.root} is a file; name a folder for the codes.')
        names = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
        if MANIFEST_NAME not in names and any(
            not name.startswith(f'.{MANIFEST_NAME}') and name != LOCK_NAME for name in names
        ):
            raise UserError(f'{self.root} holds other files ({min(names)}); name a new folder for the codes.')
        if self._complete():
            self._remove_notes()
            return []
        self.acquire()
        if self._complete():  # another extraction ended in between
            return []
        if not (self.root / MANIFEST_NAME).exists():
            self._write_manifest(self.plan)
        return self.missing()

    def write(self, shard: int, codes_NAL: np.ndarray, images: Sequence[int], labels: Sequence[int]) -> None:
        """Write a shard: the codes of those `images` (numbers in the source) that could be read, all crops of each."""
        data = self.write_array(shard_name(shard), codes_NAL.astype(self.plan.dtype))
        facts = dict(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        self.write_json(self._note(shard).name, dict(facts, images=list(images), labels=list(labels)))

    def wait_complete(self, seconds: float = 0.2) -> None:
        """Wait for the process that calls `finish`."""
        while not read_manifest(self.root).complete:
            time.sleep(seconds)

    def finish(self, name: Callable[[int], str], allowed: float) -> Manifest:
        """Make the store out of its shards.

        Args:
            name: What an image of the source is called.
            allowed: Largest tolerated share of unreadable images.

        Raises:
            UserError: Too many images were unreadable, or a shard is gone.
        """
        shards, labels, unreadable = [], [], []
        for number in range(self.plan.number_of_shards):
            note = read_json(self._note(number))
            if note is None:
                raise UserError(f'{self._note(number)} is gone; run the same command again.')
            shards.append(Shard(shard_name(number), len(note['images']), note['bytes'], note['sha256']))
            labels += note['labels']
            read = set(note['images'])
            unreadable += [name(image) for image in self.plan.shard_images(number) if image not in read]
        refuse_unreadable(unreadable, self.plan.source_images, allowed)
        data = self.write_array(LABELS_NAME, np.array(labels, dtype=np.int64))
        outcome: dict[str, Any] = dict(shards=tuple(shards), unreadable=tuple(unreadable))
        manifest = replace(self.plan, complete=True, labels_sha256=hashlib.sha256(data).hexdigest(), **outcome)
        self._write_manifest(manifest)
        self._remove_notes()
        return manifest

    def _complete(self) -> bool:
        """Whether the store is there, made as planned."""
        if not (self.root / MANIFEST_NAME).exists():
            return False
        there = read_manifest(self.root)
        self.plan.refuse_difference(there, self.root)
        return there.complete

    def _remove_notes(self) -> None:
        for number in range(self.plan.number_of_shards):
            self._note(number).unlink(missing_ok=True)

    def _note(self, shard: int) -> Path:
        return self.root / f'shard-{shard:05d}.json'

    def _write_manifest(self, manifest: Manifest) -> None:
        self.write_json(MANIFEST_NAME, manifest.to_dict(), indent=2)


def shard_name(shard: int) -> str:
    """The file of a shard."""
    return f'codes-{shard:05d}.npy'


def refuse_unreadable(names: Sequence[str], images: int, allowed: float) -> None:
    """Raise if too many images cannot be read."""
    if len(names) == images or len(names) > allowed * images:
        raise UserError(
            f'{len(names)} of {images} images cannot be read, more than --max-unreadable {allowed:g} allows, the last is '
            f'{names[-1]}; repair the data or raise --max-unreadable.'
        )
