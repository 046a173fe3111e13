"""Every registry of FVQ.

Kinds that mmengine knows (models, datasets, hooks, ...) are children of its registries with scope `fvq`; our own kinds
are roots with the same scope, because mmengine refuses two registries with one parent and one scope.
"""

import mmengine.registry as roots

from .registry import Registry

# What only training needs is imported when its registry is first read, so that loading a tokenizer stays light.
_DATA, _LOSSES, _DISCRIMINATORS = ('fvq_core.data',), ('fvq_core.losses',), ('fvq_core.losses.discriminators',)
_RUNNER, _HOOKS = ('fvq_core.training',), ('fvq_core.training.hooks',)
_TASKS, _SCHEDULES = ('fvq_core.training.tasks',), ('fvq_core.training.schedules',)

RUNNERS = Registry('runner', roots.RUNNERS, locations=_RUNNER)
LOOPS = Registry('loop', roots.LOOPS, locations=_RUNNER)
HOOKS = Registry('hook', roots.HOOKS, locations=_HOOKS)
DATASETS = Registry('dataset', roots.DATASETS, locations=_DATA)
SAMPLERS = Registry('data sampler', roots.DATA_SAMPLERS, locations=_DATA)
TRANSFORMS = Registry('transform', roots.TRANSFORMS, locations=_DATA)
MODELS = Registry('model', roots.MODELS, locations=_TASKS)
METRICS = Registry('metric', roots.METRICS)
VISUALIZERS = Registry('visualizer', roots.VISUALIZERS, roots.VISUALIZERS.build_func)
VISUALIZER_BACKENDS = Registry('vis_backend', roots.VISBACKENDS)
OPTIMIZERS = Registry('optimizer', roots.OPTIMIZERS)
OPTIM_WRAPPER_CONSTRUCTORS = Registry('optimizer wrapper constructor', roots.OPTIM_WRAPPER_CONSTRUCTORS)
LOG_PROCESSORS = Registry('log_processor', roots.LOG_PROCESSORS)
OPTIM_WRAPPERS = Registry('optimizer wrapper', roots.OPTIM_WRAPPERS, locations=_RUNNER)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler', roots.PARAM_SCHEDULERS, roots.PARAM_SCHEDULERS.build_func, locations=_SCHEDULES
)
COLLATE_FUNCTIONS = Registry('function', roots.FUNCTIONS, locations=_DATA)

TOKENIZERS = Registry('tokenizer')
ENCODERS = Registry('encoder')
DECODERS = Registry('decoder')
LOSSES = Registry('loss', locations=_LOSSES)
QUANTIZERS = Registry('quantizer')
PROJECTORS = Registry('projector')
NORMALIZATIONS = Registry('normalization')
DISTANCES = Registry('distance')
ESTIMATORS = Registry('estimator')
QUANTIZER_LOSSES = Registry('quantizer loss')
CODEBOOK_UPDATES = Registry('codebook update')
REGULARIZERS = Registry('regularizer')
CODEBOOK_INITS = Registry('codebook init')
DISCRIMINATORS = Registry('discriminator', locations=_DISCRIMINATORS)
GENERATORS = Registry('generator')
IMPORTERS = Registry('importer')
FEATURE_EXTRACTORS = Registry('feature extractor')
