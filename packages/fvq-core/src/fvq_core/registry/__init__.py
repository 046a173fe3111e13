"""Every registry, and how components are built from configs and from files."""

from .registries import *
from .registry import (
    ENTRY_POINT_GROUP,
    SCOPE,
    Registry,
    all_registries,
    build_component,
    by_name,
    component_name,
    constructor_arguments,
    describe,
    find_component,
    load_plugins,
    names_only,
    plain,
)
