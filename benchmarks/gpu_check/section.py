"""A section: a command, what it costs, what it depends on, and how its output is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REPO = Path(__file__).parents[2]
COUNT = re.compile(r'(\d+) (passed|failed|errors?|skipped|xfailed|deselected)\b')


@dataclass(frozen=True)
class Check:
    """One thing that a section's output says.

    Args:
        said: What was measured and what was asked, for people: `0 of 32,768 codes wrong (0 allowed)`.
        passed: Whether it is so.
        kind: `equality` and `gain` decide the verdict of the section and of `kernel`; a `target` is reported only.
        kernel: The `Kernel` it speaks of, if any. One section's `equality` and `gain`, at least one of each, prove a kernel.
    """

    said: str
    passed: bool
    kind: Literal['equality', 'gain', 'target'] = 'equality'
    kernel: str = ''


def at_least(
    what: str, value: float, bound: float, kind: Literal['gain', 'target'] = 'target', kernel: str = ''
) -> Check:
    """A check that `value >= bound`."""
    return Check(f'{what} {value:,.4g} (at least {bound:,.4g})', value >= bound, kind, kernel)


def at_most(
    what: str, value: float, bound: float, kind: Literal['equality', 'gain', 'target'] = 'target', kernel: str = ''
) -> Check:
    """A check that `value <= bound`."""
    return Check(f'{what} {value:,.4g} (at most {bound:,.4g})', value <= bound, kind, kernel)


def last_json(text: str) -> dict[str, Any]:
    """The last JSON object that begins at the start of a line.

    Raises:
        ValueError: There is none.
    """
    decoder, found = json.JSONDecoder(), None
    start = 0
    while (match := re.compile(r'^\{', re.MULTILINE).search(text, start)) is not None:
        try:
            found, start = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError:
            start = match.end()
    if found is None:
        raise ValueError('no JSON object was printed')
    return found


def pytest_counts(text: str) -> dict[str, int]:
    """What pytest's last line counts: `{'passed': 12, 'skipped': 3}`.

    Raises:
        ValueError: There is no such line.
    """
    for line in reversed(text.splitlines()):
        if counts := COUNT.findall(line):
            return {name.rstrip('s') if name.startswith('error') else name: int(count) for count, name in counts}
    raise ValueError('pytest printed no counts')


def none_failed(counts: Mapping[str, int]) -> list[Check]:
    """At least one test ran, and none failed."""
    failed = counts.get('failed', 0) + counts.get('error', 0)
    passed = counts.get('passed', 0)
    return [Check(f'{passed} tests passed, {failed} failed', passed > 0 and failed == 0)]


@dataclass(frozen=True)
class Section:
    """A command that runs in a process of its own.

    Args:
        name: Short and unique.
        proves: What is known after it passed, in a few words.
        command: Arguments of Python, such as `('benchmarks/search.py', '--json')`.
        arguments: More of them, for the size of a GPU.
        rehearsal: These in place of `arguments`, for a CPU: seconds, not minutes.
        seconds: Budget; the command is killed when it is spent.
        sources: Globs of files, from the root of the repository, that the result depends on; the script itself is one.
        judge: From the output to checks. It reads the output of a rehearsal, too.
        kernels: The kernels that it may prove, each with globs of its sources; `FVQ_KERNELS=all` turns them on.
        parse: From the text on standard output to the output.
        env: More environment variables.
    """

    name: str
    proves: str
    command: tuple[str, ...]
    seconds: int
    sources: tuple[str, ...]
    judge: Callable[[Any], list[Check]]
    arguments: tuple[str, ...] = ()
    rehearsal: tuple[str, ...] = ()
    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parse: Callable[[str], dict[str, Any]] = last_json
    env: Mapping[str, str] = field(default_factory=dict)

    def call(self, rehearse: bool) -> list[str]:
        """The arguments of Python."""
        return [*self.command, *(self.rehearsal if rehearse else self.arguments)]

    @property
    def all_sources(self) -> list[str]:
        """Globs of all files that the result depends on."""
        scripts = [word for word in self.command if word.endswith('.py')]
        return sorted({*scripts, *self.sources, *(glob for globs in self.kernels.values() for glob in globs)})


def pytest_section(name: str, proves: str, seconds: int, *tests: str, sources: tuple[str, ...], **more: Any) -> Section:
    """A section that runs tests marked `gpu`; it passes if one ran and none failed."""
    return Section(
        name,
        proves,
        ('-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-m', 'gpu', *tests),
        seconds,
        (*sources, *(f'{test}/**/*.py' if not test.endswith('.py') else test for test in tests)),
        judge=none_failed,
        parse=pytest_counts,
        **more,
    )
