"""A placed model: what one does to it, from setting faults to exporting the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.export import Exportable
from tremap_brevitas.placement.certificate import Certificate, Deployment, certificate

if TYPE_CHECKING:
    from tremap_brevitas.cluster.engine import Engine
    from tremap_brevitas.placed.evaluator import Evaluate
    from tremap_brevitas.prepare.compensation.report import CompensationReport
    from tremap_brevitas.prepare.compensation.shared import HealthyMoments
    from tremap_brevitas.report.fleet_report import FleetReport


class PlacedModel(Exportable):
    """A Brevitas model whose codes have their place in a memory, and the faults that it computes with at present.

    Made by [place][tremap_brevitas.place]. The model stays the user's own: train it, load state dicts, move it, as ever. Faults
    are no part of a model's state dict; a load keeps those that are set. ``copy.deepcopy`` makes a twin, model and all.

    Args:
        model: The model; its weight quantizers can hold faults.
        placement: Where each of its codes lies.
        rule: How codes are stored wherever a verb is not told otherwise; None for ``Rule()``.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If a layer of the placement is not in the model, or differs in shape, bit width or sign.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> memory = tm.Memory(words=16, word_bits=32)
        >>> net = tm.place(tm.make_faulty(QuantLinear(10, 5, bias=False)), memory)
        >>> net
        PlacedModel(QuantLinear, 50 weights, layers: 1; a healthy memory)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> net.set_faults_(chip)
        >>> net.fault_map is chip
        True
        >>> codes = net.codes("")
        >>> bool((codes.read_back != codes.wanted).any())
        True
    """

    def certificate(self, fault_map: FaultMap, *, deployment: Deployment = "group_image") -> Certificate:
        """What a chip makes of the present codes; see [certificate][tremap_brevitas.placement.certificate]."""
        return certificate(self.memory_image(), fault_map, deployment=deployment)

    def compensate_(
        self,
        batches: Iterable[Any] | None = None,
        *,
        moments: HealthyMoments | None = None,
        fault_map: FaultMap | None = None,
        factors: bool = True,
        signs: bool = True,
        sweeps: int = 2,
        samples: int = 65_536,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        progress: bool = True,
    ) -> CompensationReport:
        """Choose all codes anew, so that each layer's output is least wrong under a map: no labels, no training.

        Layer by layer, in order of execution, on the inputs that the layers before give as they are read; see
        ``docs/compensation.md``. Scales stay as they are, bit for bit. The float weights become what quantizes to the codes
        chosen, so that evaluation, export and retraining go on as ever. Where a layer's output goes into a BatchNorm alone,
        each channel may take a factor and a sign, which the BatchNorm takes up. A network whose codes come back as they are
        is not changed. ``copy.deepcopy`` the placed model before to keep the healthy network.

        Args:
            batches: A few hundred inputs without labels: tensors, or tuples whose first element is one. All are kept in memory.
            moments: What ``moments`` made of the healthy network, in place of ``batches``: each layer is then compensated for
                healthy inputs, and no image is run. Faster, and less exact where many cells are stuck.
            fault_map: A chip's map, or a merged one, whose conflicts count by the mean error over the members if it was merged
                with ``on_conflict="free"``; None for the map that is live.
            factors: Whether channels before a BatchNorm may take a factor, a quarter to four.
            signs: Whether they may take a sign. FINN folds a negative sign back into the weights: leave it off there.
            sweeps: Passes over the weights of a layer. After each, channels before a BatchNorm take the factor that serves
                their codes best; more than one does little for the others.
            samples: Most rows of inputs that are looked at in a layer, evenly spread over images and positions.
            forward: Runs a model on a batch, where that takes more than ``model(batch)``.
            progress: Whether to show a progress bar on standard error.

        Returns:
            What was done, layer by layer. It prints as a table.

        Raises:
            TypeError: If ``fault_map`` is no fault map.
            ValueError: If there is no map, no input, an input that is not finite, both batches and moments, moments of
                another network, or the model takes another way for other inputs. The model is as it was then.

        Examples:
            >>> import torch
            >>> from brevitas.nn import QuantLinear
            >>> import tremap_brevitas as tm
            >>> model = tm.make_faulty(nn.Sequential(QuantLinear(16, 8, bias=True), nn.ReLU(), QuantLinear(8, 4, bias=True)))
            >>> net = tm.place(model, tm.Memory(words=64, word_bits=32))
            >>> chip, = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.05, seed=0)
            >>> report = net.compensate_([torch.randn(256, 16)], fault_map=chip, progress=False)
            >>> report.error < report.nearest_error, net.fault_map is chip
            (True, True)
        """
        from tremap_brevitas.prepare.compensation.compensate import compensate_

        return compensate_(
            self,
            batches,
            self.fault_map if fault_map is None else fault_map,
            moments=moments,
            factors=factors,
            signs=signs,
            sweeps=sweeps,
            samples=samples,
            forward=forward,
            progress=progress,
        )

    def moments(
        self,
        batches: Iterable[Any],
        *,
        samples: int = 65_536,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        progress: bool = True,
    ) -> HealthyMoments:
        """What the inputs of all layers are like in a healthy memory: made once, for the compensation of any number of chips.

        The network is left as it was. A layer that is called several times is described by the inputs of all its calls.

        Args:
            batches: As for ``compensate_``.
            samples: Most rows of inputs that are looked at in a layer, evenly spread over images and positions.
            forward: Runs a model on a batch, where that takes more than ``model(batch)``.
            progress: Whether to show a progress bar on standard error.

        Raises:
            ValueError: If there is no input, or a layer gets one that is not finite.

        Examples:
            >>> import torch
            >>> from brevitas.nn import QuantLinear
            >>> import tremap_brevitas as tm
            >>> net = tm.place(tm.make_faulty(QuantLinear(16, 8, bias=True)), tm.Memory(words=64, word_bits=32))
            >>> moments = net.moments([torch.randn(256, 16)], progress=False)
            >>> chip, = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.05, seed=0)
            >>> report = net.compensate_(moments=moments, fault_map=chip, progress=False)
            >>> report.error < report.nearest_error
            True
        """
        from tremap_brevitas.prepare.compensation.shared import moments_of_network

        return moments_of_network(self, batches, samples=samples, forward=forward, progress=progress)

    def evaluate(
        self,
        chips: Iterable[FaultMap],
        evaluate: Evaluate,
        *,
        deployment: Deployment = "group_image",
        name: str = "",
        steps: int = 0,
        seconds: float = 0.0,
        progress: bool = True,
        engine: Engine | None = None,
        make: Callable[[], nn.Module] | None = None,
        folder: str | os.PathLike[str] | None = None,
        evaluation: str | None = None,
        batchnorm: Iterable[Any] | None = None,
    ) -> FleetReport:
        """Find the accuracy of the network on every chip of a fleet, each with its own faults.

        What is deployed are the codes that the model computes with now: after merged retraining, those under the
        merged map; with no faults set, the healthy codes. A chip's certificate says which of them it reads differently; a chip
        that is bit-exact has the network's own accuracy, and is not run.

        Args:
            chips: Every chip's own fault map.
            evaluate: Measures the model, which is in evaluation mode: takes it, returns a number, the larger the better.
            deployment: ``"group_image"``: one memory image for all chips. ``"chip_image"``: one a chip, of the nearest codes.
            name: Heading of the report.
            steps: Optimizer steps that the preparation took; for the report.
            seconds: Seconds that the preparation took; for the report.
            progress: Whether to show a progress bar on standard error.
            engine: Where chips are run, such as a ``RayEngine``; None for this process. ``evaluate`` must be picklable then.
            make: For an engine of other processes: makes such a network there, such as ``lambda: tm.make_faulty(Net())``.
            folder: Run folder that keeps the accuracy of every chip that was run; a run that was stopped goes on from it. It
                knows the network by its parameters, buffers, layers and nominal accuracy, and the batches of ``batchnorm``.
            evaluation: What ``evaluate`` measures on, in words or as a digest; needed with ``folder``, which must say the same.
            batchnorm: Batches (inputs, or tuples that begin with one) on which each chip's BatchNorm statistics are measured
                before its accuracy, and then put back; kept in memory. The nominal accuracy is that with the network's own.

        Raises:
            ValueError: If there is no chip, maps and placement do not match, an engine is given without ``make``, a folder
                without ``evaluation``, the folder holds another run, or there is no BatchNorm or no batch for ``batchnorm``.
        """
        from tremap_brevitas.placed.evaluate import evaluate_fleet

        return evaluate_fleet(
            self,
            chips,
            evaluate,
            deployment=deployment,
            name=name,
            steps=steps,
            seconds=seconds,
            progress=progress,
            engine=engine,
            make=make,
            folder=folder,
            evaluation=evaluation,
            batchnorm=batchnorm,
        )
