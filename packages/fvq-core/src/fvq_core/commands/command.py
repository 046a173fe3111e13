"""What all commands share: help with examples, one line for bad input, exit code 2."""

from __future__ import annotations

import argparse
import errno
import functools
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..errors import UserError, nearest_hint
from ..files.json import finite

# A path that cannot be used: a file where a folder should be, no permission, a full or read-only disk.
UNUSABLE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS)
Main = Callable[[Sequence[str] | None], int]
_json_to: ContextVar[TextIO | None] = ContextVar('json_to', default=None)  # stdout while a command runs with --json


def command(function: Callable[[Sequence[str] | None], None]) -> Main:
    """Turn bad input, or a path that cannot be used, into one line on stderr and exit code 2.

    Other errors stay tracebacks, and so does bad input if FVQ_DEBUG is set.
    """

    @functools.wraps(function)
    def run(argv: Sequence[str] | None = None) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors='backslashreplace')  # file names need not be valid in the terminal's encoding
        stdout, outer = sys.stdout, _json_to.set(None)
        try:
            function(argv)
        except UserError as error:
            if os.environ.get('FVQ_DEBUG'):
                raise
            print(f'error: {as_called(" ".join(str(error).split()))}', file=sys.stderr)
            return 2
        except OSError as error:
            if error.errno not in UNUSABLE or error.filename is None:
                raise
            print(f'error: {error.filename}: {error.strerror}; choose another path or free this one', file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print('interrupted; run the same command again to continue (a training run: add --resume)', file=sys.stderr)
            return 130
        finally:
            sys.stdout = stdout
            _json_to.reset(outer)
        return 0

    return run


def as_called(text: str) -> str:
    """A text that names our commands as in a clone, `tools/NAME.py`; where `fvq` was called, as `fvq NAME`."""
    if Path(sys.argv[0]).stem != 'fvq':
        return text
    text = re.sub(r'(torchrun .*?)(?=tools/)', r'\1--no-python ', text)
    return re.sub(r'(?:tools/|(?<=usage: ))(\w+)\.py\b', r'fvq \1', text)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line with the nearest option, without the usage."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        if '_ARGCOMPLETE' in os.environ:  # a shell asks what may stand at the cursor; this ends here
            from argcomplete import autocomplete

            autocomplete(self)
        found = super().parse_args(args, namespace)
        if getattr(found, 'json', False):
            _json_to.set(sys.stdout)
            sys.stdout = sys.stderr
        return found

    def format_help(self) -> str:
        return as_called(super().format_help())

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r'unrecognized arguments:.*?(--[\w-]+)', message)
        hint = f'; {nearest_hint(unknown[1], self._option_string_actions)}' if unknown else ''
        self.exit(2, f'error: {message}{hint}; {as_called(f"tools/{self.prog}")} --help lists the options\n')


def make_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends with examples."""
    # Warnings of third parties on import, which users cannot act on.
    warnings.filterwarnings('ignore', category=DeprecationWarning)
    warnings.filterwarnings('ignore', category=FutureWarning)
    style = argparse.RawDescriptionHelpFormatter
    return Parser(prog=prog, description=description, epilog=f'example:\n{example}', formatter_class=style)


def add_json(parser: argparse.ArgumentParser, holds: str) -> None:
    """`--json` for commands that end with `give`; `holds` says what it prints."""
    text = f'print one JSON value on stdout and everything else on stderr: {holds}'
    parser.add_argument('--json', action='store_true', help=text)


def give(result: Any) -> None:
    """Print the result of a command that was called with `--json`; NaN and infinity, which are not JSON, become null."""
    if stdout := _json_to.get():
        print(json.dumps(finite(result), indent=2, allow_nan=False), file=stdout)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """`--weights ema|raw` for commands that read a checkpoint."""
    parser.add_argument(
        '--weights',
        choices=('ema', 'raw'),
        help='load the EMA weights or the raw ones; default: ema if the checkpoint has them, else raw',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device` for commands that run a model."""
    parser.add_argument(
        '--device',
        default='auto',
        help='auto, cpu, cuda or cuda:N; default auto: $FVQ_DEVICE if set, else a GPU if available, else the CPU',
    )


def add_size(parser: argparse.ArgumentParser) -> None:
    """`--size` for commands that read a config."""
    parser.add_argument('--size', metavar='NAME', help="use one of the config's sizes, such as k4096 in configs/mini")


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """`--launcher` for commands that run on many devices."""
    parser.add_argument(
        '--launcher',
        choices=('auto', 'none', 'pytorch', 'slurm'),
        default='auto',
        help='what started the processes of a multi-device run; default auto, which detects torchrun',
    )
