"""Run the checks that need a GPU, section by section in order of value, each in its own process.

A section that does not fit into the remaining budget is not started. Results are written after each section, to
docs/gpu/CARD.json or --out; results of unchanged sources stay there until they are measured again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError, nearest_hint
from fvq_core.files.markdown import markdown_table

from .machine import file_name, find_card, versions
from .measure import measure
from .results import PASS, identity, is_of, read_results, write_results
from .section import REPO, Section
from .sections import SECTIONS

BUDGET = 420.0
REHEARSAL = 'none: a rehearsal'


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog='gpu_check', description=__doc__)
    made.add_argument('--budget', type=float, help=f'total seconds; default {BUDGET:.0f}, with --rehearse unlimited')
    made.add_argument(
        '--continue',
        dest='old',
        type=Path,
        metavar='JSON',
        help='skip sections that passed in these results, if their sources are unchanged',
    )
    made.add_argument('--only', nargs='+', metavar='NAME', help='run only these sections, in the order of --list')
    made.add_argument('--out', type=Path, help='results file; default docs/gpu/CARD.json, with --rehearse none')
    made.add_argument('--list', action='store_true', help='list the sections, their cost and what they prove, and exit')
    made.add_argument('--rehearse', action='store_true', help='run every section on the CPU at a small size')
    return made


def chosen(names: Sequence[str] | None, sections: Sequence[Section]) -> list[Section]:
    """The sections of some names, or all."""
    known = [section.name for section in sections]
    for name in names or ():
        if name not in known:
            raise UserError(f"--only: no section '{name}'; {nearest_hint(name, known)}")
    return [section for section in sections if not names or section.name in names]


def main(argv: Sequence[str] | None = None, sections: Sequence[Section] = SECTIONS, repo: Path = REPO) -> int:
    """0: all that ran passed. 1: something failed or was killed. 2: no GPU, or a wrong argument."""
    args = parser().parse_args(argv)
    try:
        return Call(args, chosen(args.only, sections), repo).run()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


class Call:
    """One call of the command."""

    def __init__(self, args: argparse.Namespace, sections: Sequence[Section], repo: Path) -> None:
        self.args, self.sections, self.repo = args, sections, repo
        card = None if args.rehearse else find_card()
        if card is None and not args.rehearse and not args.list:
            raise UserError(
                'this machine has no usable GPU; --rehearse runs every section on the CPU, at a small size.'
            )
        self.machine: dict[str, Any] = {**(card or {'card': REHEARSAL}), **versions()}
        self.out = args.out
        if card is not None and self.out is None:
            self.out = repo / 'docs/gpu' / f'{file_name(str(card["card"]))}.json'
        self.old = read_results(args.old)
        if args.list and card is None and args.old is not None:  # what is proven there, seen from here
            self.machine |= {key: record[key] for record in self.old.values() for key in ('card', 'torch', 'triton')}
        self.now = {section.name: identity(section, self.machine, repo, args.rehearse) for section in sections}

    def passed_over(self, section: Section) -> bool:
        """Whether --continue has a passing result of the same sources, command and card."""
        record = self.old.get(section.name)
        return record is not None and record['verdict'] == PASS and is_of(record, self.now[section.name])

    def list(self) -> int:
        rows = [
            [
                section.name,
                f'{section.seconds} s',
                section.proves,
                ', '.join(section.kernels) or '-',
                'yes' if self.passed_over(section) else 'no',
            ]
            for section in self.sections
        ]
        print(markdown_table(['section', 'at most', 'proves', 'kernels', 'proven'], rows))
        left = [section.seconds for section in self.sections if not self.passed_over(section)]
        print(f'{len(left)} to run, at most {sum(left)} s')
        return 0

    def run(self) -> int:
        if self.args.list:
            return self.list()
        default = float('inf') if self.args.rehearse else BUDGET
        budget = default if self.args.budget is None else self.args.budget
        start, rows, failed = time.monotonic(), [], False
        there = read_results(self.out) if self.out is not None and self.out.exists() else {}
        kept = {name: record for old in (there, self.old) for name, record in old.items() if self.keeps(name, record)}
        for section in self.sections:
            left = budget - (time.monotonic() - start)
            if self.passed_over(section):
                row = ['passed before', '', '']
            elif section.seconds > left:
                row = ['not started', '', f'needs {section.seconds} s, {max(left, 0):.0f} s are left']
            else:
                record = measure(section, self.machine, self.repo, self.args.rehearse)
                kept[section.name] = record
                if self.out is not None:
                    write_results(self.out, self.machine['card'], kept)
                failed |= record['verdict'] != PASS
                row = [record['verdict'], f'{record["seconds"]:.0f} s', summary(record)]
            rows.append([section.name, *row])
            left = budget - (time.monotonic() - start)
            remaining = f'{max(left, 0):4.0f} s left' if left != float('inf') else ''
            print(f'{remaining}  {section.name}: {", ".join(filter(None, row))}', flush=True)
        print(f'\n{self.machine["card"]}, torch {self.machine["torch"]}, triton {self.machine["triton"]}\n')
        print(markdown_table(['section', 'verdict', 'took', 'found'], rows))
        if self.out is not None and kept:
            print(f'\nresults: {self.out}')
        return int(failed)

    def keeps(self, name: str, record: dict[str, Any]) -> bool:
        """Whether a record is kept: it is of what is here, or of a section that is not looked at now."""
        return is_of(record, self.now[name]) if name in self.now else record.get('card') == self.machine['card']


def summary(record: Mapping[str, Any]) -> str:
    """What a record says, in one line: the error, or what failed, or what was found."""
    checks = record.get('checks', [])
    said = [f'{"" if check["passed"] else "NOT "}{check["said"]}' for check in checks]
    proven = [name for name, kernel in record.get('kernels', {}).items() if kernel['verdict'] == PASS]
    return '; '.join([*filter(None, [record.get('error')]), *said, *(f'proves {name}' for name in proven)])
