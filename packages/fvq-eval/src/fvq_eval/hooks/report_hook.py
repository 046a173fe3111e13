"""The report of a finished run: `metrics.json`, pictures, and the folded tokenizer or the autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.files.json import write_json
from fvq_core.quantizer import to_vectors
from fvq_core.registry import DATASETS, HOOKS
from fvq_core.stamp import short_stamp
from fvq_core.training.metrics_file import metrics_document

from ..plots.codebook_plot import plot_codebook
from ..plots.reconstruction_grid import save_reconstruction_grid
from ..plots.reconstruction_pairs import save_reconstruction_pairs
from ..reconstruction.trained_with import networks_of


@HOOKS.register_module()
class ReportHook(Hook):
    """Runs after the last iteration, on the weights of the last checkpoint.

    Args:
        pictures: Number of evaluation images in `reconstructions.png`.
        latents: Largest number of latent vectors in the scatter plot of `codebook.png`.
        dataset: Config of a dataset such as `WholePhotos`, whose images, of any size, replace the evaluation images in
            `reconstructions.png`. It may have a `caption`, and `unseen(image)`, the range of columns that training did
            not see.
    """

    priority = 'LOWEST'

    def __init__(self, pictures: int = 10, latents: int = 4096, dataset: Mapping[str, Any] | None = None) -> None:
        self.pictures, self.latents = pictures, latents
        self.dataset: Any = DATASETS.build(dataset) if dataset else None

    @torch.no_grad()
    def after_train(self, runner: Any) -> None:
        results = runner.val_loop.results or runner.val_loop.run()
        if not is_main_process():
            return
        work_dir, name = Path(runner.work_dir), f'iter_{runner.iter}.pth{runner.task.weights_note}'
        document = metrics_document(results, runner.cfg, runner.seed, name, self._window_metrics(runner, name))
        write_json(work_dir / 'metrics.json', document)
        task = runner.task.eval()
        facts = {
            'weights': name,
            'trained_with': networks_of(runner.cfg.model),
            **{key: document[key] for key in ('seed', 'metrics', 'versions', 'config')},
        }
        try:
            task.tokenizer.fold().save_pretrained(work_dir / 'tokenizer', facts)
        except UserError as error:  # a bridge that needs a class label; the run is finished all the same
            runner.logger.warning(f'the tokenizer was not folded: {error} Use tools/export.py on {work_dir / name}.')
        self._pictures(runner, task, work_dir)
        shown = {key: results[key] for key in ('usage', 'perplexity', 'psnr', 'ssim') if key in results}
        summary = ', '.join(f'{key} {metric}' for key, metric in shown.items())
        stamp = f' ({short_stamp(shown)})' if shown else ''
        runner.logger.info(f'{summary}{stamp}; pictures, metrics.json and the exported model are in {work_dir}')

    @staticmethod
    def _window_metrics(runner: Any, weights: str) -> dict[str, Any]:
        window = runner.last_log
        if 'usage_window' not in window:
            return {}
        protocol = 'training window: codes of the training batches since the log before'
        stamp = {'protocol': protocol, 'preset': '', 'samples': None, 'tokens': window['tokens_window']}
        stamp['weights'] = f'while training to {weights}'
        return {
            'usage_window': {'value': window['usage_window'], 'unit': '%', **stamp},
            'perplexity_window': {'value': window['perplexity_window'], 'unit': 'codes', **stamp},
        }

    def _pictures(self, runner: Any, task: Any, work_dir: Path) -> None:
        originals, reconstructions, latents = [], [], []
        shown = vectors = 0
        for batch in runner.val_loop.dataloader:
            if batch.get('images') is None:
                continue
            evaluated = task.val_step(batch)
            output = evaluated.output
            originals.append(evaluated.images.cpu())
            reconstructions.append(output.reconstruction.cpu())
            quantized = output.quantized
            if quantized is not None and quantized.z_BDHW is not None:
                latents.append(to_vectors(quantized.z_BDHW).cpu())
            shown += len(originals[-1])
            vectors += self.latents if quantized is None else quantized.codes.indices_BL.numel()
            if shown >= self.pictures and vectors >= self.latents:
                break
        whole = self.dataset is not None and self._whole_images(runner, task, work_dir / 'reconstructions.png')
        if originals and not whole:  # a quantizer of latents may be evaluated on a store of them
            images, made = (torch.cat(parts)[: self.pictures] for parts in (originals, reconstructions))
            save_reconstruction_grid(images, made, work_dir / 'reconstructions.png')
        z_ND = torch.cat(latents) if latents else None
        if z_ND is not None:
            z_ND = z_ND[:: max(1, len(z_ND) // self.latents)]
        counts = [counted for metric in runner.val_loop.metrics if (counted := metric.code_counts()) is not None]
        if counts:
            plot_codebook(counts[0].cpu(), task.tokenizer.quantizer.codebook().cpu(), z_ND, work_dir / 'codebook.png')

    def _whole_images(self, runner: Any, task: Any, path: Path) -> bool:
        """Draw the images of `dataset`; False if the model takes images of one size only."""
        factor, pairs, unseen = task.tokenizer.downsample_factor, [], []
        for number in range(len(self.dataset)):
            image = self.dataset[number]['image']
            height, width = (side - side % factor for side in image.shape[1:])
            try:
                task.tokenizer.layout(height, width)
            except UserError as error:
                runner.logger.warning(
                    f'reconstructions.png shows the evaluation images instead of the dataset: {error}'
                )
                return False
            evaluated = task.val_step({'images': image[None, :, :height, :width]})
            pairs.append((evaluated.images[0], evaluated.output.reconstruction[0]))
            unseen.append(self.dataset.unseen(image) if hasattr(self.dataset, 'unseen') else None)
        save_reconstruction_pairs(pairs, path, unseen, getattr(self.dataset, 'caption', ''))
        return True
