"""What reads another project's checkpoints: registered in `IMPORTERS` under the name that `tools/convert.py` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..files.torch_weights import read_weights_file
from ..saving.kind import SavedKind
from ..tokenizer import Tokenizer


class Importer:
    """One layout of checkpoints.

    Attributes:
        kind: What kind of folder is written.
        read: The peer's state dict, and options for what no file tells, to the config of our model and its state dict.
            Raises `LayoutError` if the state dict is of another model.
        read_file: From a path to what the file holds, as data; an importer of files of another kind overrides it.
    """

    kind: ClassVar[SavedKind]
    read_file: ClassVar[Callable[[Path], Any]] = staticmethod(read_weights_file)
    read: ClassVar[Callable[..., tuple[dict[str, Any], Mapping[str, Any]]]]

    @staticmethod
    def save(model: Any, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write our model to a folder, with facts about its weights."""
        raise NotImplementedError

    @staticmethod
    def summary(model: Any) -> str:
        """What was imported, in a few words."""
        raise NotImplementedError


class TokenizerImporter(Importer):
    """A layout of tokenizers."""

    kind = Tokenizer.saved_kind

    @staticmethod
    def save(model: Tokenizer, folder: Path, facts: Mapping[str, Any]) -> None:
        model.save_pretrained(folder, facts)

    @staticmethod
    def summary(model: Tokenizer) -> str:
        quantizer = model.quantizer
        return f'{type(model).__name__} with {len(quantizer.codebook())} codes of {quantizer.code_dim} channels'
