"""What a saved folder holds: `config.json` of registered names, `model.safetensors`, and `README.md` for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..registry import Registry, describe
from .model_card import CardText

CONFIG_NAME, WEIGHTS_NAME, CARD_NAME = 'config.json', 'model.safetensors', 'README.md'
# Keys of every `config.json` that are read or printed, and of what type their values are; a kind adds its own.
KEY_TYPES: dict[str, type] = dict(format_version=int, fvq_version=str, weights_digest=str, metrics=dict, versions=dict)
FACTS = {'metrics', 'versions'}  # of these, what the caller tells
TYPE_NAMES = {dict: 'an object', str: 'text', int: 'a whole number'}

# The digest of a model's weights, and what is known of those weights.
Provenance = tuple[str | None, Mapping[str, Any]]


@dataclass(frozen=True)
class SavedKind:
    """What a saved folder holds a model of.

    Attributes:
        name: What messages call it, and the key of its description in `config.json`.
        registry: Builds the description.
        remedy: What makes the folder again, for messages.
        keys: Its own keys of `config.json`, and the type of each.
        parts: Saved models in folders inside, by the folder's name; each may be missing.
        init_on_meta: A large model is built on the meta device and takes its weights, and their dtype, as they are;
            its constants outside the state dict must come back in `_apply`, or it is built as others are.
    """

    name: str
    registry: Registry
    remedy: str
    keys: Mapping[str, type] = field(default_factory=dict)
    parts: Mapping[str, SavedKind] = field(default_factory=dict)
    init_on_meta: bool = False

    @property
    def own_keys(self) -> set[str]:
        """The keys of `config.json` that are not facts about the weights."""
        return {*KEY_TYPES, self.name, *self.keys} - FACTS

    def facts(self, config: Mapping[str, Any]) -> Provenance:
        """The digest of the weights that a `config.json` was written with, and what it tells about them."""
        return config.get('weights_digest'), {key: config[key] for key in config if key not in self.own_keys}

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """The model's config; a `UserError` if it was not built from one."""
        if not hasattr(model, 'component_config'):
            remedy = f'use {self.name.upper()}S.build(config)'
            raise UserError(f'save_pretrained: this {self.name} was not built from a config; {remedy}.')
        return describe(model)


@dataclass(frozen=True)
class SaveSpec:
    """What a folder is to hold.

    Attributes:
        kind: Kind of the model.
        description: Its config; see `fvq_core.registry.describe`.
        card: What its card says of it, given the name that it is loaded by.
        keys: Values of the kind's own keys of `config.json`.
        parts: Writes each part into the folder that it is given.
        loaded_facts: Saved with these weights where the caller tells none.
    """

    kind: SavedKind
    description: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    card: Callable[[str], CardText]
    keys: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    loaded_facts: Provenance = (None, {})
