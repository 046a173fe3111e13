"""Reading a pickle as data: no name in it is imported, and nothing is called, whatever it asks for.

`pickle.Unpickler` with a restricted `find_class` would still run constructors and `__setstate__`, hash what it is
told to, and allocate a memo as large as a number in the file. Here `pickletools` splits the opcodes, and only
containers, numbers, text and tensors are built; everything else becomes an `Inert` record.
"""

from __future__ import annotations

import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from typing import Any

from .inert import Inert, hashable
from .known_objects import MAKERS
from .unreadable import CheckpointError

# An opcode of one byte may take a hundred bytes of memory. Optimizer states of ten thousand tensors have a million opcodes.
MAX_OPCODES = 10_000_000
DAMAGED = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(MemoryError, RuntimeError, AssertionError),
)
# What no weights file has a reason to call. It would not run here either, but such a file is refused.
HOSTILE = re.compile(
    r'(?:os|posix|nt|subprocess|sys|shutil|socket|importlib|runpy|pty|ctypes|pickle|_pickle|marshal|webbrowser|urllib|requests|'
    r'asyncio|pdb|bdb|timeit|cProfile|pip)(?:\..*)?'
    r'|builtins\.(?:eval|exec|execfile|compile|getattr|setattr|delattr|globals|open|input|__import__|apply|'
    r'breakpoint)'
    r'|operator\.(?:attrgetter|methodcaller)|code\.(?:interact|Interactive\w*)|types\.(?:CodeType|FunctionType)'
    r'|torch\.(?:load|hub|jit|ops|serialization\.\w*load\w*|utils\.cpp_extension)(?:\..*)?|numpy\.(?:load|fromfile|memmap)'
)


def read_pickle(file: Any, storage: Callable[[Any], Any] | None = None) -> Any:
    """The next pickle of a file, as dicts, lists, tuples, plain values, tensors, and `Inert` for everything else.

    Args:
        file: A file or map of one, read up to the end of the pickle. Its `read(n)` must not allocate n bytes if
            there are fewer, as that of a buffered file does.
        storage: Maps a persistent id to its flat tensor; without it, storages are inert.

    Raises:
        CheckpointError: The pickle is damaged, out of bounds, or asks for a program to be run.
    """
    machine = StackMachine(storage)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MAX_OPCODES:
                raise CheckpointError(f'its pickle has more than {MAX_OPCODES} opcodes')
            if opcode.name == 'STOP':
                return machine.stack[-1]
            machine.step(opcode.name, argument)
    except CheckpointError:
        raise
    except DAMAGED as error:
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:120]
        raise CheckpointError(f'its pickle is damaged ({reason})') from error
    raise CheckpointError('its pickle has no end')


class StackMachine:
    """The stack and memo of one pickle; `step` runs one opcode."""

    VALUE = (
        r'INT|BININT[12]?|LONG[14]?|(BIN)?FLOAT|((SHORT_)?BIN)?(STRING|UNICODE)|(SHORT_)?BINBYTES|BIN\w+8|BYTEARRAY8'
    )
    PUSHES = frozenset(filter(re.compile(VALUE).fullmatch, (opcode.name for opcode in pickletools.opcodes)))
    CONSTANTS: Mapping[str, Any] = dict(NONE=None, NEWTRUE=True, NEWFALSE=False)
    EMPTY: Mapping[str, Callable[[], Any]] = dict(EMPTY_DICT=dict, EMPTY_LIST=list, EMPTY_TUPLE=tuple, EMPTY_SET=list)
    TUPLES: Mapping[str, int] = dict(TUPLE1=1, TUPLE2=2, TUPLE3=3)
    IGNORED = frozenset(['PROTO', 'FRAME'])

    def __init__(self, storage: Callable[[Any], Any] | None = None) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in self.PUSHES:
            stack.append(argument)
        elif name in ('MEMOIZE', 'BINPUT', 'LONG_BINPUT', 'PUT'):
            self.memo[len(self.memo) if name == 'MEMOIZE' else argument] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET', 'GET'):
            stack.append(self.memo[argument])
        elif name in self.CONSTANTS:
            stack.append(self.CONSTANTS[name])
        elif name in self.EMPTY:
            stack.append(self.EMPTY[name]())
        elif name in self.TUPLES:
            stack.append(tuple(self.pop_many(self.TUPLES[name])))
        elif name not in self.IGNORED:
            run = getattr(self, f'run_{name.lower()}', None)
            if run is None:
                raise CheckpointError(f'its pickle has the opcode {name}, which no weights file needs')
            run(argument)

    def pop_many(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError('the stack is empty')
        return self.pop_from(len(self.stack) - count)

    def pop_mark(self) -> list[Any]:
        """The items above the topmost mark."""
        return self.pop_from(self.marks.pop())

    def pop_from(self, start: int) -> list[Any]:
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def run_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def run_pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def run_pop_mark(self, _: Any) -> None:
        self.pop_mark()

    def run_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def run_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def run_list(self, _: Any) -> None:
        self.stack.append(self.pop_mark())

    run_frozenset = run_list

    def run_dict(self, _: Any) -> None:
        pairs = self.pop_mark()
        self.stack.append({})
        self.set_items(pairs)

    def run_append(self, _: Any) -> None:
        self.extend(self.pop_many(1))

    def run_appends(self, _: Any) -> None:
        self.extend(self.pop_mark())

    run_additems = run_appends

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        (target.values if isinstance(target, Inert) else target).extend(values)

    def run_setitem(self, _: Any) -> None:
        self.set_items(self.pop_many(2))

    def run_setitems(self, _: Any) -> None:
        self.set_items(self.pop_mark())

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Inert) else target
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            items[hashable(key)] = value

    def run_global(self, argument: str) -> None:
        self.stack.append(named(*argument.split(' ', 1)))

    def run_stack_global(self, _: Any) -> None:
        self.stack.append(named(*self.pop_many(2)))

    def run_inst(self, argument: str) -> None:
        self.stack.append(call(named(*argument.split(' ', 1)), tuple(self.pop_mark())))

    def run_obj(self, _: Any) -> None:
        target, *arguments = self.pop_mark()
        self.stack.append(call(target, tuple(arguments)))

    def run_reduce(self, _: Any) -> None:
        self.stack.append(call(*self.pop_many(2)))

    run_newobj = run_reduce

    def run_newobj_ex(self, _: Any) -> None:
        target, arguments, _options = self.pop_many(3)
        self.stack.append(call(target, arguments))

    def run_build(self, _: Any) -> None:
        (state,) = self.pop_many(1)
        target = self.stack[-1]
        if isinstance(target, Inert):  # attributes of a dict, such as a state dict's _metadata, are ignored
            target.state = state

    def run_persid(self, argument: Any) -> None:
        self.stack.append(Inert('persistent id') if self.storage is None else self.storage(argument))

    def run_binpersid(self, _: Any) -> None:
        self.run_persid(*self.pop_many(1))


def named(module: str, name: str) -> Inert:
    """A class or function by its name in Python 3; old protocols write that of Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return Inert(f'{module}.{name}'[:200])


def call(target: Any, arguments: Any) -> Any:
    """The value of `target(*arguments)` in the pickle: a plain value or tensor if it is a known one, else a record."""
    name = target.name if isinstance(target, Inert) else type(target).__name__
    if not isinstance(arguments, tuple):
        raise TypeError(f'{name} is given {type(arguments).__name__}')
    if name == 'builtins.getattr' and [type(each) for each in arguments] == [Inert, str]:
        target, attribute = arguments  # how old protocols write a nested class and a method
        if not HOSTILE.fullmatch(target.name):
            return named(target.name, attribute)
    if HOSTILE.fullmatch(name):
        raise CheckpointError(f'it asks for {name} to be called, which could run a program')
    make = MAKERS.get(name)
    if make is not None:
        try:
            made = make(*arguments)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RuntimeError):
            made = None  # not the arguments that the real one gets: keep a record
        if made is not None:
            return made
    return Inert(name, arguments)
