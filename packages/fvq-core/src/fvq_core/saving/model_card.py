"""The README.md of a saved model: metadata for the hub, how to load it, and what is known of it.

Nothing is made up: a figure is printed with the stamp it came with, and what was not recorded is said to be missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..files.markdown import markdown_table
from ..stamp import stamp

LIBRARY = 'fvq'
ABSENT = 'not recorded'


@dataclass(frozen=True)
class CardMetadata:
    """Metadata that only the author of the weights can supply.

    Args:
        license: A licence id of the hub, such as `apache-2.0`; without one the card names none.
        datasets: Hub ids of the training data.
        evaluated_on: The data set of the metrics. The hub's `model-index` must name one, so that without it the
            metrics stand in the table only.
        name: What the card loads, and with its last part as the title: a repository id, or a path. The folder's path
            by default.
    """

    license: str | None = None
    datasets: Sequence[str] = ()
    evaluated_on: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class CardText:
    """What a card tells of one model, beside what every card tells.

    Attributes:
        summary: One sentence.
        tags: Tags on the hub.
        task: Task id that the hub lists the metrics under.
        usage: Markdown: lines that work as they stand.
        facts: Rows of the table of facts.
    """

    summary: str
    tags: Sequence[str]
    task: str
    usage: str
    facts: Sequence[tuple[str, str]]


def model_card(
    text: CardText, config: Mapping[str, Any], description: Mapping[str, Any], metadata: CardMetadata
) -> str:
    """The whole card: what `text` tells of this model, its `config.json`, the model config in that, and what the owner says."""
    name, metrics = str(metadata.name), config.get('metrics') or {}
    title = line(name.rsplit('/', 1)[-1])
    versions = {'saved with fvq': config['fvq_version'], **(config.get('versions') or {})}
    rows = [
        *text.facts,
        ('weights', line(config.get('weights', ABSENT))),
        ('seed', line(config.get('seed', ABSENT))),
        ('training config', line(config.get('config') or ABSENT)),
        ('versions', line(', '.join(f'{key} {value}' for key, value in versions.items()))),
    ]
    sections = [
        f'---\n{front_matter(text, metrics, metadata, title)}\n---',
        f'# {title}',
        text.summary,
        f'## Load\n\n{text.usage}',
        f'## Facts\n\n{markdown_table(("what", "value"), rows)}',
        f'## Metrics\n\n{metrics_table(metrics, metadata.evaluated_on)}',
        f'## Config\n\n```json\n{json.dumps(description, indent=2)}\n```',
    ]
    return '\n\n'.join(sections) + '\n'


def front_matter(text: CardText, metrics: Mapping[str, Any], metadata: CardMetadata, title: str) -> str:
    """The YAML between the dashes."""
    # Imported here: huggingface_hub is needed to save, not to import this module.
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

    data_set = metadata.evaluated_on
    results = [
        EvalResult(
            task_type=text.task,
            dataset_type=data_set,
            dataset_name=data_set,
            metric_type=key,
            metric_value=metric['value'],
            metric_args={part: metric[part] for part in metric if part != 'value'},
        )
        for key, metric in stamped(metrics).items()
        # Without evaluation images, as for usage over training batches, it is not a result on that data set.
        if data_set is not None and metric.get('samples') is not None and is_number(metric['value'])
    ]
    return ModelCardData(
        library_name=LIBRARY,
        tags=list(text.tags),
        license=metadata.license,
        datasets=list(metadata.datasets) or None,
        model_name=title if results else None,
        eval_results=results or None,
    ).to_yaml()


def metrics_table(metrics: Mapping[str, Any], evaluated_on: str | None) -> str:
    """Each number with its protocol, counts and weights; one sentence where there is none."""
    if not metrics:
        return 'None were recorded with these weights.'
    rows = [
        (
            f'{key} ({metric["unit"]})' if metric.get('unit') else key,
            number(metric['value']),
            line(stamp(metric) if metric.get('protocol') else ABSENT),
            line(ABSENT if metric.get('samples') is None else metric['samples']),
            line('' if metric.get('tokens') is None else metric['tokens']),  # only what counts codes has it
            line(metric.get('weights') or ABSENT),
        )
        for key, metric in stamped(metrics).items()
    ]
    data = f'Rows with a count of images: evaluated on {line(evaluated_on)}.\n\n' if evaluated_on else ''
    return data + markdown_table(('metric', 'value', 'protocol', 'images', 'codes', 'weights'), rows)


def stamped(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every metric as a mapping with `value`: a bare number has no stamp, and its row then says so."""
    return {
        key: {'value': ABSENT, **value} if isinstance(value, Mapping) else {'value': value}
        for key, value in metrics.items()
    }


def line(value: Any) -> str:
    """Text for a cell or a title, in one line."""
    return ' '.join(str(value).split())


def number(value: Any) -> str:
    """Six significant digits; `config.json` holds all."""
    return f'{value:.6g}' if isinstance(value, float) else line(value)


def is_number(value: Any) -> bool:
    """Whether a metadata file may hold it as a number."""
    return isinstance(value, int | float) and math.isfinite(value)
