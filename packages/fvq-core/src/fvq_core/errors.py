"""Errors that a user can fix: one line naming what failed, what was expected, what came and the remedy."""

from __future__ import annotations

import difflib
import json
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class UserError(ValueError):
    """Bad input. The command line prints only its message and exits with code 2.

    The message is one line: what it quotes from a file cannot bring line ends or control characters into a terminal.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


class NonFiniteError(UserError):
    """Latents, codes, weights or pixels are NaN or infinite."""


class NonFiniteLossError(UserError):
    """A training loss became NaN or infinite; raised before the optimizer step, so the weights are still finite."""


def one_line(text: str) -> str:
    """A text with spaces in place of line ends, and unprintable characters escaped; bytes of file names are kept."""
    if text.isprintable():
        return text
    return ''.join(
        # What os.fsdecode makes of bytes that are not UTF-8 lies from U+DC80 to U+DCFF.
        char if char.isprintable() or '\udc80' <= char <= '\udcff' else ' ' if char.isspace() else ascii(char)[1:-1]
        for char in text
    )


# What constructors and libraries raise for wrong values. Not OSError and MemoryError, which are the machine's.
BAD_VALUE_ERRORS = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError)
BAD_VALUE_ERRORS += (ImportError,)  # a component of a package that is not installed


def as_user_error(error: Exception, what: str) -> UserError:
    """An exception that the user's values led to, in one line; `raise as_user_error(error, ...) from error`."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]  # a bare assertion says what was expected in its line
    reason = ' '.join((str(error) or ''.join(frame.line or '' for frame in frames)).split())[:300] or 'no reason given'
    return UserError(f'{what}: {type(error).__name__}: {reason}; FVQ_DEBUG=1 shows where.')


@contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Turn what the user's values raise inside the block (`BAD_VALUE_ERRORS`) into a one-line `UserError` that names `what`."""
    try:
        yield
    except UserError:
        raise
    except BAD_VALUE_ERRORS as error:
        raise as_user_error(error, what) from error


def nearest_hint(name: str, valid: Iterable[str]) -> str:
    """`did you mean 'x'?` with the closest valid name, else a list of the valid names."""
    valid = sorted(valid)
    if close := difflib.get_close_matches(name, valid, n=1, cutoff=0.6):
        return f"did you mean '{close[0]}'?"
    return f'valid: {", ".join(valid)}' if valid else 'there is none to choose from.'


def shortened(value: Any) -> str:
    """A value as a JSON file has it, cut if it is long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f'{text[:60]}...'


class SmokeError(UserError):
    """A smoke run showed that something does not work."""
