"""What a folder of codes holds, in words and numbers: `manifest.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.codes import CodeLayout, LatentLayout
from fvq_core.errors import UserError
from fvq_core.files.format_version import check_format_version
from fvq_core.files.json import parse_json, read_json_object

from .layouts import any_layout_from_dict
from .manifest_kinds import check_kinds

MANIFEST_NAME, LABELS_NAME = 'manifest.json', 'labels.npy'
FORMAT, VERSION = 'fvq codes', 2


@dataclass(frozen=True)
class Shard:
    """One file of codes (n, A, L), or of latents or their moments (n, A, ...).

    Attributes:
        file: File name.
        images: Number of images, n.
        bytes: File size.
        sha256: SHA-256 of its bytes.
    """

    file: str
    images: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The description of a store. All but the last four fields are fixed before the first image is encoded.

    Attributes:
        layout: How the L codes, or the continuous latent, of a crop are arranged.
        tokenizer_hash: Fingerprint of the tokenizer whose codes they are; see `fvq_generators.fingerprint`.
        tokenizer: Origin of that tokenizer, in words.
        crops: What was cut from each image; `count` is A.
        precision: Precision of the encoder.
        seed: Seed of random crops.
        source: Origin of the images, in words.
        source_images: Their number.
        source_digest: SHA-256 of their names and labels.
        shard_size: Images of the source that a shard covers.
        moments: Whether a latent is stored as its distribution: D channels of the mean, then those of the log variance.
        complete: Whether every shard is there.
        unreadable: Names of images that could not be read and have no codes.
        shards: The files of codes, in order.
        labels_sha256: SHA-256 of the file of labels.
    """

    layout: CodeLayout | LatentLayout
    tokenizer_hash: str
    tokenizer: str
    crops: Mapping[str, Any]
    precision: str
    seed: int
    source: str
    source_images: int
    source_digest: str
    shard_size: int
    moments: bool = False
    complete: bool = False
    unreadable: tuple[str, ...] = ()
    shards: tuple[Shard, ...] = ()
    labels_sha256: str = ''

    @property
    def images(self) -> int:
        """N, images with codes."""
        return sum(shard.images for shard in self.shards)

    @property
    def num_crops(self) -> int:
        """A, the crops of an image."""
        return int(self.crops['count'])

    @property
    def dtype(self) -> np.dtype:
        """What shards store: codes in 16 bits if every one fits, else in 32; latents in float32."""
        if isinstance(self.layout, LatentLayout):
            return np.dtype(np.float32)
        return np.dtype(np.uint16 if self.layout.vocab_size <= 2**16 else np.int32)

    @property
    def contents(self) -> str:
        """What a crop has, in words."""
        if isinstance(self.layout, LatentLayout):
            return f'{"mean and log variance of " if self.moments else ""}a latent {self.layout.shape}'
        return f'{self.layout.length} codes of {self.layout.vocab_size:,}'

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """The shape of a crop in a shard: (L,) codes, or a latent (D, H, W) or (D, L), of whose moments there are 2D."""
        if not isinstance(self.layout, LatentLayout):
            return (self.layout.length,)
        D, *positions = self.layout.shape
        return (2 * D if self.moments else D, *positions)

    @property
    def number_of_shards(self) -> int:
        """Shards of a complete store."""
        return -(-self.source_images // self.shard_size)

    def shard_images(self, shard: int) -> range:
        """The numbers of the source's images that a shard covers."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.source_images))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        fields = {**vars(self), 'layout': self.layout.to_dict(), 'crops': dict(self.crops)}
        if not self.moments:  # as stores were before there were any
            del fields['moments']
        fields['unreadable'], fields['shards'] = list(self.unreadable), [vars(shard) for shard in self.shards]
        vocabulary = None if isinstance(self.layout, LatentLayout) else self.layout.vocab_size
        counts = dict(images=self.images, vocabulary=vocabulary, dtype=str(self.dtype))
        return {'format': FORMAT, 'version': VERSION, **counts, **fields}

    @classmethod
    def from_dict(cls, document: Any, where: str | Path) -> Manifest:
        """Read what `to_dict` wrote; raises if it is something else, or damaged."""
        if not isinstance(document, Mapping) or document.get('format') != FORMAT:
            raise UserError(f'{where} is not the manifest of a codes store; make one with tools/extract_codes.py.')
        remedy = 'extract the codes again with tools/extract_codes.py'
        check_format_version(document.get('version'), where, remedy, VERSION)
        known = cls.__dataclass_fields__
        try:
            given: dict[str, Any] = {key: document[key] for key in known if key != 'moments'}
            given['moments'] = document.get('moments', False)
            check_kinds(given)
            given['layout'] = any_layout_from_dict(given['layout'])
            given['shards'] = tuple(Shard(**shard) for shard in given['shards'])
            given['unreadable'] = tuple(given['unreadable'])
            manifest = cls(**given)
            checked = parse_json(json.dumps(manifest.to_dict()), str(where))  # tuples are lists there
            wrong = [key for key, value in checked.items() if document.get(key) != value]
            if manifest.complete and len(manifest.shards) != manifest.number_of_shards:
                wrong.append('shards')
            if any(Path(shard.file).name != shard.file for shard in manifest.shards):
                wrong.append('file')
            if manifest.num_crops < 1:
                wrong.append('crops')
        except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
            reason = f'{type(error).__name__}: {error}'
            raise UserError(f'{where} is damaged ({reason}); extract the codes again.') from error
        if wrong:
            raise UserError(f"{where} contradicts itself in '{wrong[0]}'; extract the codes again.")
        return manifest

    def refuse_difference(self, other: Manifest, where: str | Path) -> None:
        """Raise if an extraction would continue the one in the folder `where` with other settings."""
        wanted, there = self.to_dict(), other.to_dict()
        fixed = [key for key in wanted if key not in ('tokenizer', 'source', 'images', *OUTCOME)]
        different = next((key for key in fixed if wanted[key] != there.get(key)), None)
        if different is not None:
            raise UserError(
                f'{where} holds codes made otherwise ({different} is {there.get(different)} there, {wanted[different]} now); '
                'name another folder, or delete that one.'
            )


OUTCOME = ('complete', 'unreadable', 'shards', 'labels_sha256')


def read_manifest(root: str | Path) -> Manifest:
    """The manifest of a folder, complete or not; raises if there is none that can be used."""
    path = Path(root) / MANIFEST_NAME
    if not path.exists():
        raise UserError(
            f'{root} is not a codes store: it has no {MANIFEST_NAME}; make one with tools/extract_codes.py.'
        )
    return Manifest.from_dict(read_json_object(path, 'extract the codes again'), path)
