"""What a finished generator's run leaves behind: `metrics.json` and the generator as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from fvq_core.codes import CodeLayout
from fvq_core.errors import UserError
from fvq_core.files.json import write_json
from fvq_core.registry import HOOKS
from fvq_core.training.metrics_file import metrics_document

from ..pretrained import save_generator


@HOOKS.register_module()
class GeneratorReportHook(Hook):
    """Checks whose codes are learned, and reports at the end.

    The folder `generator` of the work dir holds the generator, and whose tokenizer's codes it has learned; so does every
    checkpoint.

    Args:
        sampling: Fields of the generator's `Sampling` to keep beside the weights as its defaults, such as
            `dict(cfg_scale=1.75)`.

    Raises:
        UserError: The codes are of another tokenizer than `model.tokenizer`, or than those that a resumed run has learned.
    """

    priority = 'LOWEST'

    def __init__(self, sampling: dict[str, Any] | None = None) -> None:
        self.sampling = dict(sampling or {})
        self.learned = ''  # hash of the tokenizer whose codes a resumed run began with

    def tokenizer_hash(self, runner: Any) -> str:
        """The fingerprint of the tokenizer whose codes are learned; '' if it was not recorded."""
        return runner.task.learned_hash(runner.train_loop.dataloader.dataset) or self.learned

    def before_train(self, runner: Any) -> None:
        runner.task.generator.Sampling.check(self.sampling, 'GeneratorReportHook')
        bound = runner.task.tokenizer_hash
        if bound and self.tokenizer_hash(runner) != bound:
            raise UserError(
                f'the training codes are of tokenizer {self.tokenizer_hash(runner)[:12]}, model.tokenizer is {bound[:12]}; '
                'name the tokenizer that the codes were extracted with.'
            )

    def before_resume(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Raise if the run would go on with codes of another tokenizer: its checkpoints would then name that one."""
        self.learned, given = checkpoint.get('tokenizer_hash', ''), self.tokenizer_hash(runner)
        if self.learned and given not in ('', self.learned):
            raise UserError(
                f'the run to resume has learned codes of tokenizer {self.learned[:12]}, its data are codes of {given[:12]}; '
                'resume with the codes it began with, or start another run from its weights with load_from.'
            )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['tokenizer_hash'] = self.tokenizer_hash(runner)
        checkpoint['sampling'] = self.sampling

    def after_train(self, runner: Any) -> None:
        task = runner.task
        results = {} if runner.val_loop is None else runner.val_loop.results or runner.val_loop.run()
        state = task.gather(task.local_state())
        if not is_main_process():
            return
        work_dir, name = Path(runner.work_dir), f'iter_{runner.iter}.pth{task.weights_note}'
        window = runner.last_log
        unit = 'nats a code' if isinstance(task.generator.layout, CodeLayout) else ''
        last = {
            key: {
                'value': value,
                'unit': unit,
                'protocol': 'mean over the last logged interval of training, dropout on',
                'preset': '',
                'samples': None,
                'weights': f'while training to {name}',
            }
            for key, value in window.items()
            if key == 'loss' or key.startswith('loss/')
        }
        document = metrics_document(results, runner.cfg, runner.seed, name, last)
        write_json(work_dir / 'metrics.json', document)
        facts = {'weights': name, **{key: document[key] for key in ('seed', 'metrics', 'versions', 'config')}}
        folder = save_generator(
            task.generator,
            {key.removeprefix('generator.'): value for key, value in state.items()},
            work_dir / 'generator',
            tokenizer_hash=self.tokenizer_hash(runner),
            sampling=self.sampling,
            extra=facts,
        )
        runner.logger.info(
            f'loss {window.get("loss", float("nan")):.4g}; metrics.json and the generator are in {folder}'
        )
