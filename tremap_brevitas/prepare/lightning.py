"""Let a Lightning ``Trainer`` drive a strategy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from tremap_brevitas.prepare.strategy import Strategy


def _callback_class() -> Any:
    """Return Lightning's ``Callback`` from the package that the program has imported; ``object`` if neither is installed."""
    for name in sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules):
        try:
            return import_module(name).Callback
        except ImportError:
            continue
    return object


_Callback: Any = _callback_class()


class LightningCallback(_Callback):
    """Lets a Lightning ``Trainer`` drive a strategy: ``Trainer(callbacks=[LightningCallback(strategy)])``.

    ``strategy.step`` is called once for every batch after which the optimizer took a step, so that batches whose gradients are
    accumulated count as one. The validation in ``fit`` sees the strategy's whole map, and so does the network after ``fit``;
    ``trainer.validate`` and ``trainer.test`` measure it under the faults that are live then. A checkpoint holds the strategy's
    state, and ``trainer.fit(…, ckpt_path=…)`` resumes from it.

    Needs ``lightning`` or ``pytorch-lightning``: ``pip install "tremap_brevitas[lightning]"``.

    Args:
        strategy: The strategy. The model of its ``net`` is the ``LightningModule`` or a part of it.

    Attributes:
        strategy: The strategy.

    Raises:
        ImportError: If neither package is installed.
        TypeError: If ``strategy`` is not a Strategy.

    ``trainer.fit`` raises a ``ValueError`` if the strategy's model is not part of the module, if a checkpoint holds no state of
    a strategy or that of another, and if the strategy takes several passes a step (``CleanAndFaulty``) and the module optimizes
    automatically. In manual optimization, go over ``strategy.passes()`` in ``training_step``.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> strategy = tm.AllAtOnce(tm.place(fc, memory), chip)
        >>> callback = tm.prepare.LightningCallback(strategy)  # doctest: +SKIP
        >>> Trainer(max_epochs=3, callbacks=[callback]).fit(module, batches)  # doctest: +SKIP
    """

    def __init__(self, strategy: Strategy) -> None:
        if _Callback is object:
            raise ImportError('needs lightning or pytorch-lightning: pip install "tremap_brevitas[lightning]"')
        if not isinstance(strategy, Strategy):
            raise TypeError(f"strategy must be a Strategy, got {strategy!r}")
        super().__init__()
        self.strategy = strategy
        self._optimizer_steps = 0
        self._validation = ExitStack()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Check that the strategy's model belongs to this module.

        Raises:
            ValueError: If it is not, or takes passes that the module would not make.
        """
        if stage != "fit":
            return
        name, model = type(self.strategy).__name__, self.strategy.net.model
        if all(module is not model for module in pl_module.modules()):
            raise ValueError(f"{name} is of a {type(model).__name__} that is not part of this {type(pl_module).__name__}")
        passes = sum(1 for _ in self.strategy.passes())
        if passes != 1 and pl_module.automatic_optimization:
            raise ValueError(
                f"{name} takes {passes} passes a step, automatic optimization makes one: "
                "set automatic_optimization = False, and loop over strategy.passes() in training_step"
            )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Remember how many steps were taken."""
        self._optimizer_steps = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report an optimizer step to the strategy, with the batch's loss if ``training_step`` returned it."""
        if trainer.global_step == self._optimizer_steps:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        # Lightning has divided it by the batches that are accumulated.
        self.strategy.step(None if loss is None else float(loss) * trainer.accumulate_grad_batches)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the whole map, unless ``trainer.validate`` runs the validation."""
        if trainer.state.fn == "fit":
            self._validation.enter_context(self.strategy.net.using(self.strategy.fault_map, rule=self.strategy.rule))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Restore the faults of the next step."""
        self._validation.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Restore the faults of the next step, also when the validation fails."""
        self._validation.close()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Set the whole map, under which the network is evaluated and exported."""
        self.strategy.net.set_faults_(self.strategy.fault_map, rule=self.strategy.rule)

    def state_dict(self) -> dict[str, Any]:
        """Return the strategy's state, for Lightning's checkpoint."""
        return self.strategy.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the strategy from a checkpoint.

        Raises:
            TypeError: If it holds no such state.
            ValueError: If it is the state of a strategy with other settings. Nothing is changed then.
        """
        self.strategy.load_state_dict(state_dict)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that was saved without a strategy.

        Raises:
            ValueError: If it was.
        """
        if self.state_key not in checkpoint["callbacks"]:
            raise ValueError(
                f"the checkpoint holds no state of {self.state_key}; resume with the callbacks that it was saved with"
            )
