"""How components are registered and built: from configs, which are programs, and from files, which are data.

Plug-ins: a package that declares an entry point in the group `fvq.components` is imported the first time a name is
looked up, and its `@PROJECTORS.register_module()` (and the like) take effect. Our sibling packages use the same door.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from mmengine.registry import Registry as _Registry

from ..errors import BAD_VALUE_ERRORS, UserError, as_user_error, nearest_hint
from .argument_types import check_types
from .discovery import import_submodules

if TYPE_CHECKING:
    from torch import nn

SCOPE = 'fvq'
ENTRY_POINT_GROUP = 'fvq.components'

_names_only: ContextVar[bool] = ContextVar('names_only', default=False)
_broken_plugins: dict[str, str] = {}
_plugins_loaded = False
_ALL: list[Registry] = []


def load_plugins() -> dict[str, str]:
    """Import every package of the entry-point group once; returns those that could not be imported, with the reason.

    A package that fails to import is a warning here, and is named again if a wanted component is then missing. A name
    that two packages register is always an error.
    """
    global _plugins_loaded
    if _plugins_loaded:
        return _broken_plugins
    _plugins_loaded = True
    for point in entry_points(group=ENTRY_POINT_GROUP):
        plugin = f"plug-in '{point.name}' ({point.value})"
        try:
            point.load()
        except Exception as error:  # a stranger's package may raise anything; ours must keep working
            if isinstance(error, KeyError) and 'already registered' in str(error):
                _plugins_loaded = False
                raise UserError(f'{plugin}: {error.args[0]}; rename one of them.') from error
            reason = _broken_plugins[point.name] = f'{type(error).__name__}: {error}'
            warnings.warn(f'FVQ {plugin} was not loaded: {reason}', stacklevel=2)
    return _broken_plugins


@contextmanager
def names_only() -> Iterator[None]:
    """Inside, a `type` must be a registered name of the expected kind, at every depth; nothing is imported by name.

    Configs may say `type='my_package.MyQuantizer'`, which imports that module. A description that was read from a file
    must not: `type='subprocess.Popen'` would run a program.
    """
    token = _names_only.set(True)
    try:
        yield
    finally:
        _names_only.reset(token)


def constructor_arguments(component: Any) -> dict[str, inspect.Parameter] | None:
    """The arguments that a class or function takes by name; None when it takes `**kwargs` or cannot be inspected."""
    try:
        parameters = inspect.signature(component).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return {name: p for name, p in parameters.items() if p.kind is not p.VAR_POSITIONAL}


def build_component(cfg: Mapping[str, Any], registry: Registry, **defaults: Any) -> Any:
    """Build a component from `dict(type=..., **arguments)`.

    Args:
        cfg: The config; `type` is a class or a registered name. An object that is already built is returned as it is.
        registry: Registry in which names are looked up.
        defaults: Arguments from the owner (a projector gets its quantizer's `codebook_size` and `code_dim`), used where
            the config is silent and the constructor takes them.

    Raises:
        UserError: A bare name or class, an unknown name or argument (with the nearest valid one), a missing argument, or
            any `ValueError` that the constructor raises.
    """
    if isinstance(cfg, str | type):
        name = cfg if isinstance(cfg, str) else component_name(cfg)
        registry.resolve(cfg)
        raise UserError(f"{registry.name}: expected a config, got {name!r}; write dict(type='{name}').")
    if not isinstance(cfg, Mapping):
        return cfg
    arguments = {key: value for key, value in cfg.items() if key != '_scope_'}
    if 'type' not in arguments:
        raise UserError(f"{registry.name}: a config needs a 'type', got {dict(cfg)}; {registry.hint('')}")
    component = registry.resolve(arguments.pop('type'))
    name = getattr(component, '__name__', str(component))
    accepted = constructor_arguments(component)
    for key, value in defaults.items():
        if accepted is None or key in accepted:
            arguments.setdefault(key, value)
    if accepted is not None:
        for key in arguments:
            if key not in accepted:
                raise UserError(f"{name}: unknown argument '{key}'; {nearest_hint(key, accepted)}")
        if required := [key for key, p in accepted.items() if p.default is p.empty and key not in arguments]:
            raise UserError(f'{name}: missing argument(s) {", ".join(required)}; add them to its config.')
    try:
        built = component(**arguments)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error) if str(error).startswith(name) else f'{name}: {error}') from error
    except BAD_VALUE_ERRORS as error:
        check_types(component, arguments, name)
        raise as_user_error(error, name) from error
    from torch import nn  # imported late: torch takes seconds, and --help should not

    if isinstance(built, nn.Module):
        own = {key: value for key, value in cfg.items() if key not in ('type', '_scope_')}
        cast(Any, built).component_config = {'type': component_name(component), **own}
        silent = {key: p.default for key, p in (accepted or {}).items() if p.default is not p.empty}
        cast(Any, built).component_arguments = silent | arguments
    return built


def describe(module: nn.Module, complete: bool = False) -> dict[str, Any]:
    """The config that builds a module as it stands now, with registered names for types.

    With `complete` it also has the arguments that the config leaves to the constructor and to the owner.

    An argument whose attribute of the same name is itself a component is described from that component, so that a
    folded quantizer describes its new projector, not the one it was built with.
    """
    described = {}
    left = cast(Any, module).component_arguments if complete else {}
    for key, value in {**left, **cast(Any, module).component_config}.items():
        child: Any = getattr(module, key, None)
        described[key] = describe(child, complete) if hasattr(child, 'component_config') else plain(value)
    return described


def plain(value: Any) -> Any:
    """A config value with every class replaced by its registered name and every layout by its description, ready for JSON."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, type):
        return component_name(value)
    return value.to_dict() if hasattr(value, 'to_dict') else value  # such as a CodeLayout


def component_name(component: Any) -> str:
    """The name under which any of our registries knows a class or function, else its import path."""
    names = (registry.name_of(component) for registry in _ALL)
    return next((name for name in names if name), f'{component.__module__}.{component.__qualname__}')


def by_name(config: Any, leave_out: Collection[str] = ()) -> Any:
    """A config with import paths of registered components, as lazy configs write them, replaced by their names.

    The keys `leave_out` are dropped at every depth.
    """
    if isinstance(config, list):
        return [by_name(entry, leave_out) for entry in config]
    if not isinstance(config, Mapping):
        return config
    named = {key: by_name(value, leave_out) for key, value in config.items() if key not in leave_out}
    return {**named, 'type': registered_name(named['type'])} if isinstance(named.get('type'), str) else named


def registered_name(path: str) -> str:
    """The name of the registered component that a path leads to, possibly through a package above it; else the path."""
    package, _, last = path.rpartition('.')
    if package in ('', SCOPE):
        return last
    for registry in _ALL:
        for name, component in registry.known().items():
            if getattr(component, '__name__', '') == last and f'{component.__module__}.'.startswith(f'{package}.'):
                return name
    return path


class Registry(_Registry):
    """An mmengine registry that loads plug-ins on first look-up and refuses unknown arguments."""

    def __init__(
        self,
        name: str,
        parent: _Registry | None = None,
        build_func: Any = build_component,
        locations: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, build_func=build_func, parent=parent, scope=SCOPE, locations=list(locations))
        _ALL.append(self)

    def import_from_location(self) -> None:
        load_plugins()
        if not self._imported:
            self._imported = True
            for location in self._locations:
                import_submodules(location)

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:  # as in mmengine, but for the types
        return self.build_func(cfg, *args, **kwargs, registry=self)

    def add_location(self, module: str) -> None:
        """Import a module, or every module of a package, when this registry is first read: for what only training needs."""
        self._locations.append(module)

    def names(self) -> list[str]:
        """Every registered name, plug-ins included."""
        self.import_from_location()
        return sorted(self._module_dict)

    def hint(self, name: str) -> str:
        broken = ''.join(f"; plug-in '{plugin}' failed to load ({reason})" for plugin, reason in load_plugins().items())
        return nearest_hint(name, self.names() or self.known()) + broken

    def resolve(self, type_: Any) -> Any:
        """What a `type` is: a registered name, an import path (not inside `names_only`), or the thing itself; else raises."""
        if callable(type_):
            return type_
        if not isinstance(type_, str):
            raise UserError(f"{self.name}: expected a name or a class as 'type', got {type_!r}; {self.hint('')}")
        found, refused = self.registered(type_), _names_only.get()
        if found is None and not refused:
            with suppress(RuntimeError):
                found = self.get(type_)
        if found is None or isinstance(found, ModuleType):  # a bare name may be that of an installed module
            why = 'an import path, which is not followed here' if refused and '.' in type_ else 'not registered'
            raise UserError(f"{self.name}: '{type_}' is {why}; {self.hint(type_.rpartition('.')[2])}")
        return found

    def registered(self, name: str) -> Any | None:
        """What has exactly this name, here or in mmengine's registry of the same kind; None if nothing has."""
        self.import_from_location()
        return self._module_dict[name] if name in self._module_dict else self.known().get(name)

    def known(self) -> dict[str, Any]:
        """Everything that is registered, here and in mmengine's registry of the same kind."""
        self.import_from_location()
        if self.parent is None:
            return self._module_dict
        self.parent.import_from_location()
        return {**self.parent.module_dict, **self._module_dict}

    def name_of(self, component: Any) -> str | None:
        """The name under which a class or function is registered, here or in mmengine's registry of the same kind."""
        known = [*self._module_dict.items(), *(self.parent.module_dict.items() if self.parent else ())]
        return next((name for name, each in known if each is component), None)


def all_registries() -> list[Registry]:
    """Every registry of ours."""
    return list(_ALL)


def find_component(type_: Any) -> Any | None:
    """The class behind a config's `type` in whichever registry has it; None where none has."""
    if not isinstance(type_, str):
        return type_
    for registry in _ALL:
        if (found := registry.registered(type_)) is not None:
            return found
    if '.' in type_ and not _names_only.get():
        with suppress(UserError):
            return _ALL[0].resolve(type_)
    return None
