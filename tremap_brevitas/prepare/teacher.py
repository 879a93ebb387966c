"""Train on the healthy network's predictions in addition to the labels (knowledge distillation)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.prepare.strategy import check_net


class TeacherLoss:
    """Cross-entropy with the labels and with the healthy network's predictions (Hinton et al., arXiv 1503.02531).

    ``(1 - share) * cross_entropy(logits, labels) + share * T² * KL(teacher || network)``, where the KL divergence is that of
    the softmax of both logits over the temperature ``T``, averaged over the samples.

    The teacher is a frozen twin of the network as it is when the loss is made, without faults and in evaluation mode: make the
    loss before training begins, and before a checkpoint is loaded. It is not part of the network or of its state dict. Each
    step costs one more forward pass.

    Args:
        net: The network that is going to be trained; it is not changed.
        temperature: Softens both outputs, above 0.
        share: Weight of the teacher, 0 to 1; the labels have the remaining weight.
        forward: Function from the teacher to a function that runs it on a batch, such as [compiled][tremap_brevitas.compiled];
            None for the teacher itself.

    Raises:
        TypeError: If ``net`` is no PlacedModel.
        ValueError: If ``temperature`` or ``share`` is out of range.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 3, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> net = tm.place(fc, memory)
        >>> loss_of = tm.TeacherLoss(net)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> strategy = tm.AllAtOnce(net, chip)
        >>> images, labels = torch.ones(2, 4), torch.tensor([0, 2])
        >>> loss_of(fc(images), images, labels).backward()
    """

    def __init__(
        self,
        net: PlacedModel,
        *,
        temperature: float = 2.0,
        share: float = 0.7,
        forward: Callable[[nn.Module], Callable[[Any], Tensor]] | None = None,
    ) -> None:
        check_net(net)
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie between 0 and 1, got {share}")
        self.temperature, self.share = float(temperature), float(share)
        twin = copy.deepcopy(net)
        twin.clear_faults_()
        self.teacher = twin.model.eval().requires_grad_(False)
        self._run = self.teacher if forward is None else forward(self.teacher)

    def __call__(self, logits: Tensor, images: Any, labels: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: Outputs of the network, shape (N, classes) or (N, classes, …).
            images: The batch that they are for, of whatever type the model takes.
            labels: Classes, shape (N) or (N, …).

        Raises:
            ValueError: If the teacher's logits have another shape.
        """
        with torch.no_grad():
            said = self._run(images)
        if said.shape != logits.shape:
            raise ValueError(f"logits have shape {tuple(logits.shape)}, but the teacher's {tuple(said.shape)}")
        positions = logits.numel() // logits.shape[1]
        soft = functional.kl_div(
            torch.log_softmax(logits / self.temperature, 1), torch.softmax(said / self.temperature, 1), reduction="sum"
        )
        hard = functional.cross_entropy(logits, labels)
        return (1 - self.share) * hard + self.share * self.temperature**2 * (soft / positions)
