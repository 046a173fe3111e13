"""What the application registers: trackers and remote data, imported when their registries are first read."""

from fvq_core.registry import DATASETS, HOOKS, VISUALIZER_BACKENDS, VISUALIZERS

DATASETS.add_location('fvq.remote_data')
for registry in (HOOKS, VISUALIZERS, VISUALIZER_BACKENDS):
    registry.add_location('fvq.tracking')
del registry
