"""Whether data behind an address, or on the hub of Hugging Face, can be read: a whole stream, or a table's columns."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

from .data_checks import Report

# The data sets of the package fvq, by what the command calls them.
KINDS = {
    'webdataset': 'RemoteShards',
    'huggingface': 'HuggingFaceImages',
    'huggingface-stream': 'HuggingFaceStream',
}


def check_remote(kind: str, path: str, columns: dict[str, Any]) -> Report:
    """Open a data set, and read a stream to its end if it does not say how many images it has.

    Args:
        kind: One of `KINDS`.
        path: Address of shards, repository on the hub, or file format.
        columns: `split`, `image`, `label` and `data_files` of Hugging Face's, as far as they were given.
    """
    if DATASETS.registered(KINDS[kind]) is None:
        raise UserError(f'{kind}: this data set is part of the package fvq; pip install "fvq[data]".')
    config: dict[str, Any] = dict(type=KINDS[kind], **{'shards' if kind == 'webdataset' else 'path': path}, **columns)
    files = f' ({", ".join(columns["data_files"])})' if 'data_files' in columns else ''
    if kind == 'huggingface':
        dataset = DATASETS.build(config)
        labelled = int((dataset.labels >= 0).sum())
        return Report([f'{path}{files}: {len(dataset):,} images, {labelled:,} with a label'], config, True)
    stream = DATASETS.build({**config, 'length': 1})
    images = labelled = size = 0
    for image in tqdm(stream.in_order(), desc='reading', unit=' images', disable=None):
        images, labelled, size = images + 1, labelled + (image.label >= 0), size + len(image.data)
    what = f'{images:,} images in {stream.stream.shards:,} shards, {labelled:,} with a label, {size / 2**20:,.1f} MiB'
    return Report([f'{path}{files}: {what}'], {**config, 'length': images}, True)
