"""From the folder of a saved model to its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_core.files.paths import expand_home
from fvq_core.registry import all_registries
from fvq_core.saving.kind import CONFIG_NAME
from fvq_core.saving.saved_model import SavedModel


def find_saved_class(folder: str | Path) -> type[SavedModel]:
    """The registered class that a folder holds a model of; raises if there is none."""
    path = Path(expand_home(folder)) / CONFIG_NAME
    if not path.is_file():
        raise UserError(f'{folder} is not a saved model: it has no {CONFIG_NAME}; export or save one first.')
    config = read_json_object(path, 'save it again')
    saved = [each for registry in all_registries() for each in registry.known().values() if saves(each)]
    # By kind, the class that all models of it inherit: it reports what is wrong with a type that is not registered.
    found = {each.saved_kind.name: next(base for base in each.__mro__ if 'saved_kind' in vars(base)) for each in saved}
    for name, each in found.items():
        if name in config:
            described = config[name].get('type') if isinstance(config[name], dict) else None
            own = each.saved_kind.registry.known().get(str(described))
            return own if saves(own) else each
    raise UserError(f'{path} describes no {" and no ".join(sorted(found))}; its keys are {", ".join(config)}.')


def saves(component: Any) -> bool:
    """Whether a registered component is a class of models that save themselves."""
    return isinstance(component, type) and issubclass(component, SavedModel)
