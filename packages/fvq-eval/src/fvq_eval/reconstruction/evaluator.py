"""A tokenizer under several presets in one pass over image files, with nothing written to disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from torch.utils.data import Dataset

from fvq_core.autoencoder import Autoencoder
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.losses.perceptual.weights import BACKBONES, MissingWeightsError
from fvq_core.metric import Metric, MetricValue
from fvq_core.ops.finite import deferred_checks
from fvq_core.ops.latent_perturbation import LatentPerturbation
from fvq_core.ops.ranks import sum_or_raise
from fvq_core.progress import Progress
from fvq_core.registry import FEATURE_EXTRACTORS, METRICS

from ..features.exact_precision import exact_precision
from ..features.feature_extractor import FeatureExtractor
from ..generation.evaluator import cache_folder
from ..metrics.codebook_usage import CodebookUsage
from ..presets import Preset, find_preset
from .applied_preset import applied, computed, number_name, read_references, without
from .checks import check_output, check_size, image_files
from .cropped_files import CroppedFiles, load
from .feature_sets import FeatureSets
from .forward import reconstruct
from .side_by_side import side_by_side

Built = TypeVar('Built')


class PresetEvaluator:
    """Decodes each file once, reconstructs each distinct crop of it once, and scores that under every preset.

    Args:
        presets: Names, or presets of one's own.
        extractor: Config of a component of `FEATURE_EXTRACTORS`. By default the Inception network of 2015, and without its
            weights no scores of features; False for none of these scores.
        lpips_weights: File or folder of the networks of LPIPS; see `fvq_core.losses.perceptual.LPIPS`.
        reference: File of statistics that presets with an external reference compare with; see `fvq_eval.generation.reference`.
        image_size: Side of the crops instead of the presets' 256 pixels.
        images: Images of a whole evaluation instead of the presets' number, for another data set.
        perturbation: What is done to the codes before they are decoded; the FID is then called pFID
            (Qiu et al., 2025, arXiv 2503.08354). Metrics of codes are of those that the encoder chose.
        cache: Folder for statistics of images that a reference lists, as ADM's does; see `ImageSetEvaluator`.

    Attributes:
        declared: The presets as they are asked for.
        presets: As they are applied: after `evaluate`, with the network, its input and the reference that were really used,
            and without the scores that could not be had.
        left_out: One line for each kind of number that could not be computed, saying why.
        dead_codes: Codes that were never chosen, by preset, after `evaluate`.
        facts: What else the numbers are of, JSON-ready: the reference that was used, with its sha256.

    Raises:
        UserError: An unknown preset, the same one twice, or none; a reference that no preset compares with.
    """

    def __init__(
        self,
        presets: Sequence[str | Preset],
        extractor: Mapping[str, Any] | bool | None = None,
        lpips_weights: str | None = None,
        reference: str | None = None,
        image_size: int | None = None,
        images: int | None = None,
        perturbation: LatentPerturbation | None = None,
        cache: str | None = 'default',
    ) -> None:
        found = [find_preset(preset) if isinstance(preset, str) else preset for preset in presets]
        self.perturbation = perturbation
        self.declared = [preset.at(image_size, images) for preset in found]
        if perturbation is not None:
            self.declared = [preset.perturbed(str(perturbation)) for preset in self.declared]
        self.presets = self.declared
        names = [preset.name for preset in self.declared]
        if not names or len(set(names)) < len(names):
            raise UserError(f'PresetEvaluator: needs one or more distinct presets, got {", ".join(names) or "none"}.')
        if reference is not None and all(preset.reference == 'originals' for preset in self.presets):
            raise UserError(
                f'PresetEvaluator: expected a preset that compares with a file such as adm for the reference {reference}, '
                f'got {", ".join(names)}, which compare with the originals; leave the reference out.'
            )
        self.extractor, self.lpips_weights, self.reference = extractor, lpips_weights, reference
        self.cache = cache_folder(cache)
        self.left_out: list[str] = []
        self.facts: dict[str, Any] = {}
        self.dead_codes: dict[str, list[int]] = {}

    @torch.no_grad()
    def evaluate(
        self,
        tokenizer: Autoencoder,
        files: Dataset,
        batch_size: int = 32,
        num_workers: int = 0,
        max_unreadable: float = 0.1,
        logger: logging.Logger | None = None,
    ) -> dict[str, MetricValue]:
        """Every number by `preset/name`; on the main process, and nothing on other ranks.

        Args:
            tokenizer: Tokenizer in eval mode, on its device.
            batch_size: Images that a network sees at a time; it changes no printed digit.
            max_unreadable: Largest tolerated share of unreadable files.

        Raises:
            UserError: Other data than image files, files that cannot be scored, or a tokenizer that breaks.
        """
        images_of = image_files(files)
        check_size(tokenizer, self.presets)
        self.presets, self.left_out, self.facts = list(self.declared), [], {}
        device = next(tokenizer.parameters()).device
        metrics, features = self.metrics(tokenizer), self.features(device, batch_size)
        cropped = CroppedFiles(images_of, list(dict.fromkeys(preset.crop for preset in self.presets)))
        log = logger or logging.getLogger('fvq')
        unreadable = UnreadableImages(len(cropped), max_unreadable, log)
        rank, ranks = get_dist_info()
        loader = load(cropped, rank, ranks, batch_size, num_workers, pin_memory=device.type == 'cuda')
        seen, failure = 0, None
        try:
            with (
                self.perturbed(tokenizer),
                deferred_checks(),
                Progress('evaluating', len(loader), rank, ranks, log.info, 'batch') as bar,
            ):
                for batch in bar.over(loader):
                    if unreadable.check(batch):
                        self.update(tokenizer, batch, cropped.files.name, batch_size, metrics, features)
                        seen += len(batch['numbers'])
        except UserError as error:
            failure = error
        if sum_or_raise([seen], failure) == [0]:
            raise UserError('the evaluation set has no readable image.')
        return self.results(metrics, features)

    def perturbed(self, tokenizer: Autoencoder) -> AbstractContextManager[None]:
        """Inside, what is decoded is perturbed, if it is to be."""
        if self.perturbation is None:
            return nullcontext()
        return self.perturbation.applied(tokenizer.require_quantizer('perturbation'))

    def update(
        self,
        tokenizer: Autoencoder,
        batch: Mapping[str, Any],
        name_of: Callable[[int], str],
        batch_size: int,
        metrics: Mapping[str, list[Metric]],
        features: FeatureSets | None,
    ) -> None:
        """Every crop of a batch of files through the tokenizer, and what came out to whoever wants it."""
        device = next(tokenizer.parameters()).device
        for crop, pixels in batch['images'].items():
            images = from_uint8(pixels.to(device, non_blocking=True))
            output = reconstruct(tokenizer, images, batch_size)
            check_output(images, output.reconstruction, [name_of(int(number)) for number in batch['numbers']])
            with exact_precision(device.type):
                for preset in self.presets:
                    for metric in metrics[preset.name] if preset.crop == crop else ():
                        metric.update(images, output, tokenizer)
                if features is not None:
                    features.update(crop, images, output.reconstruction, batch['numbers'])

    def metrics(self, tokenizer: Autoencoder) -> dict[str, list[Metric]]:
        """The metrics of each preset, started; those without weights, codes or large enough images are left out by name."""
        kept: dict[str, list[Metric]] = {}
        for position, preset in enumerate(self.declared):
            kept[preset.name], without_weights = [], {}
            for config in preset.metric_configs(self.lpips_weights):
                metric, reason = built_on_all_ranks(lambda config=config: METRICS.build(config))
                smallest = getattr(metric, 'smallest', 1)
                if metric is not None and preset.crop.size < smallest:
                    size = f'{preset.crop.size}x{preset.crop.size}'
                    reason = f'it needs {smallest} pixels, the crops are {size}'
                if metric is not None and metric.needs_codes and tokenizer.quantizer is None:
                    why = f'it needs codes, {type(tokenizer).__name__} has continuous latents'
                    self.leave_out(f'{preset.name}: no {type(metric).__name__}: {why}')
                    continue
                if metric is None or reason:
                    if metric is None:
                        without_weights[number_name(config)] = reason
                    else:
                        self.leave_out(f'{preset.name}: no {number_name(config)}: {reason}')
                    self.presets[position] = without(self.presets[position], config)
                    continue
                metric.reset(tokenizer)
                kept[preset.name].append(metric)
            self.leave_out_networks(preset, without_weights)
        return kept

    def features(self, device: torch.device, batch_size: int) -> FeatureSets | None:
        """What takes features, with the references checked; None without an extractor."""
        network, external = None if self.extractor is False else self.network(), {}
        if network is not None:
            external = read_references(self.reference, self.declared, network.to(device), batch_size, self.cache)
            for preset in self.declared:
                if preset.reference == 'external' and preset.name not in external:
                    words = preset.reference_words
                    self.leave_out(f'{preset.name}: no distance, it needs {words}; name it as reference')
        self.presets = [applied(preset, network, external.get(preset.name)) for preset in self.presets]
        for reference in external.values():
            used = {'reference': self.reference, 'reference_is': reference.words}
            self.facts = {**used, 'reference_sha256': reference.sha256}
        return None if network is None else FeatureSets(self.presets, network, external)

    def network(self) -> FeatureExtractor | None:
        """The network of the features; None, with a line, if the default has no weights here."""
        network: FeatureExtractor | None
        if isinstance(self.extractor, Mapping):  # asked for by name: what is wrong with it is an error
            network = FEATURE_EXTRACTORS.build(self.extractor)
        else:
            network, reason = built_on_all_ranks(lambda: FEATURE_EXTRACTORS.build(dict(type='InceptionV3')))
            if network is None:
                self.leave_out(f'no rFID and no other score of features: {reason}')
        return network

    def leave_out(self, line: str) -> None:
        """Remember what is missing, once."""
        line = ' '.join(line.split())
        if line not in self.left_out:
            self.left_out.append(line)

    def results(self, metrics: Mapping[str, Sequence[Metric]], features: FeatureSets | None) -> dict[str, MetricValue]:
        """All values, after everything was brought together."""
        for metric in (metric for kept in metrics.values() for metric in kept):
            metric.reduce()
        if features is not None:
            features.reduce()
        if not is_main_process():
            return {}
        values: dict[str, MetricValue] = {}
        for position, preset in enumerate(list(self.presets)):
            for metric in metrics[preset.name]:
                for key, value in metric.compute().items():
                    protocol = f'{preset.declared}{preset.crop}; {value.protocol}'
                    values[f'{preset.name}/{key}'] = replace(value, protocol=protocol, required=preset.samples)
                if isinstance(metric, CodebookUsage):
                    self.dead_codes[preset.name] = metric.dead()
            if features is not None:
                found, missing = features.scores(preset)
                values.update({f'{preset.name}/{key}': value for key, value in found.items()})
                for line in features.reasons(preset, missing):
                    self.leave_out(f'{preset.name}: no {line}')
                self.presets[position] = computed(preset, missing, features.preprocessing(preset))
        return values

    def leave_out_networks(self, preset: Preset, reasons: Mapping[str, str]) -> None:
        """Remember in one line which LPIPS a preset does not give for want of weights; reasons are by the numbers' names."""
        if reasons:
            others = ', '.join(BACKBONES[name.removeprefix('lpips_')] for name in list(reasons)[1:])
            likewise = f' Likewise {others}.' if others else ''
            self.leave_out(f'{preset.name}: no {", ".join(reasons)}: {next(iter(reasons.values()))}{likewise}')

    def side_by_side(self, values: Mapping[str, MetricValue]) -> list[str]:
        """The numbers of several presets beside one another, in lines; nothing for one preset."""
        return side_by_side(self.presets, values)


def built_on_all_ranks(build: Callable[[], Built]) -> tuple[Built | None, str]:
    """What `build` makes, or None and why, if weights are missing on any rank."""
    built, reason = None, ''
    try:
        built = build()
    except MissingWeightsError as error:
        reason = str(error)
    reasons = [reason for reason in all_gather_object(reason) if reason]
    return (None, reasons[0]) if reasons else (built, '')
