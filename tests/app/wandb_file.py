"""What an offline run of W&B wrote: its file is a log of LevelDB that holds protocol buffers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER, START = 32768, 7, 7  # bytes


def log_entries(data: bytes) -> Iterator[bytes]:
    """The entries of a log: blocks of 32 KiB with pieces, each after a checksum, its length and its kind."""
    position, entry = START, b''
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from('<IHB', data, position)
        position += HEADER
        entry += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last piece
            yield entry
            entry = b''


def records(path: Path) -> list[Any]:
    """The records of a `run-ID.wandb`."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for entry in log_entries(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(entry)
        found.append(record)
    return found


def history(path: Path) -> list[dict[str, Any]]:
    """The rows that a run logged; of a picture, one of its fields."""
    rows = [record.history.item for record in records(path) if record.WhichOneof('record_type') == 'history']
    return [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in row} for row in rows]
