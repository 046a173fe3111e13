"""What the application registers: trackers and remote data, imported when their registries are first read."""

from importlib.util import find_spec

from fvq_core.registry import DATASETS, HOOKS, VISUALIZER_BACKENDS, VISUALIZERS

DATASETS.add_location('fvq.remote_data')
if find_spec('cv2') and find_spec(
    'fvq_eval'
):  # mmengine's visualizer and our plots: fvq[train], without which nothing is tracked
    for registry in (HOOKS, VISUALIZERS, VISUALIZER_BACKENDS):
        registry.add_location('fvq.tracking')
