"""Reading a pickle as data: no name in it is imported, and nothing is called, whatever it asks for.

`pickle.Unpickler` with a restricted `find_class` would still run constructors and `__setstate__`, hash what it is
told to, and allocate a memo as large as a number in the file. Here `pickletools` splits the opcodes, and only
containers, numbers, text and tensors are built; everything else becomes an `Inert` record.
"""

from __future__ import annotations

import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any

from .known_objects import MAKERS, Inert, hashable
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

    def __init__(self, storage: Callable[[Any], Any] | None = None) -> None:
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case _ if name in self.PUSHES:
                stack.append(argument)
            case 'MEMOIZE' | 'BINPUT' | 'LONG_BINPUT' | 'PUT':
                self.memo[len(self.memo) if name == 'MEMOIZE' else argument] = stack[-1]
            case 'BINGET' | 'LONG_BINGET' | 'GET':
                stack.append(self.memo[argument])
            case 'NONE' | 'NEWTRUE' | 'NEWFALSE':
                stack.append(dict(NONE=None, NEWTRUE=True, NEWFALSE=False)[name])
            case 'EMPTY_DICT':
                stack.append({})
            case 'EMPTY_LIST' | 'EMPTY_SET':
                stack.append([])
            case 'EMPTY_TUPLE':
                stack.append(())
            case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
                stack.append(tuple(self.pop_many(int(name[-1]))))
            case 'MARK':
                self.marks.append(len(stack))
            case 'POP' if not self.marks or self.marks[-1] != len(stack):
                stack.pop()
            case 'POP' | 'POP_MARK':
                self.pop_mark()
            case 'DUP':
                stack.append(stack[-1])
            case 'TUPLE':
                stack.append(tuple(self.pop_mark()))
            case 'LIST' | 'FROZENSET':
                stack.append(self.pop_mark())
            case 'DICT':
                pairs = self.pop_mark()
                stack.append({})
                self.set_items(pairs)
            case 'SETITEM' | 'SETITEMS':
                self.set_items(self.pop_many(2) if name == 'SETITEM' else self.pop_mark())
            case 'APPEND' | 'APPENDS' | 'ADDITEMS':
                values, target = self.pop_many(1) if name == 'APPEND' else self.pop_mark(), stack[-1]
                (target.values if isinstance(target, Inert) else target).extend(values)
            case 'GLOBAL':
                stack.append(named(*argument.split(' ', 1)))
            case 'STACK_GLOBAL':
                stack.append(named(*self.pop_many(2)))
            case 'INST':
                stack.append(call(named(*argument.split(' ', 1)), tuple(self.pop_mark())))
            case 'OBJ':
                target, *arguments = self.pop_mark()
                stack.append(call(target, tuple(arguments)))
            case 'REDUCE' | 'NEWOBJ':
                stack.append(call(*self.pop_many(2)))
            case 'NEWOBJ_EX':
                target, arguments, _options = self.pop_many(3)
                stack.append(call(target, arguments))
            case 'BUILD':
                (state,) = self.pop_many(1)
                if isinstance(stack[-1], Inert):  # attributes of a dict, such as a state dict's _metadata, are ignored
                    stack[-1].state = state
            case 'PERSID' | 'BINPERSID':
                key = argument if name == 'PERSID' else self.pop_many(1)[0]
                stack.append(Inert('persistent id') if self.storage is None else self.storage(key))
            case 'PROTO' | 'FRAME':
                pass
            case _:
                raise CheckpointError(f'its pickle has the opcode {name}, which no weights file needs')

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

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        items = target.items if isinstance(target, Inert) else target
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            items[hashable(key)] = value


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
