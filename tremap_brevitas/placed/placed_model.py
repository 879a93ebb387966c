"""The placed model: a Brevitas model in a memory, and methods to compensate, evaluate and export it."""

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
    """A Brevitas model, the place of its codes in a memory, and the faults that it computes with at present.

    Made by [place][tremap_brevitas.place]. The model stays the user's own: train it, load state dicts and move it as usual.
    Faults are not part of a model's state dict; loading one keeps those that are set. ``copy.deepcopy`` copies the model too.

    Args:
        model: The model; its weight quantizers can hold faults.
        placement: Where each of the model's codes lies.
        rule: How codes are stored by every method that gets no rule of its own; None for ``Rule()``.

    Raises:
        TypeError: If an argument has another type.
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
        """Compare what a chip reads with the present codes; see [certificate][tremap_brevitas.placement.certificate]."""
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

        Layers are compensated in order of execution, each for the inputs that it gets from the layers before it as a chip
        computes them; see ``docs/compensation.md``. Scales stay as they are, bit for bit. The float weights are replaced by
        values that quantize to the chosen codes, so that evaluation, export and retraining work as before. Where a layer's
        output goes only into a BatchNorm, each channel may take a factor and a sign, which the BatchNorm absorbs. A network
        whose codes all read back unchanged is not changed. To keep the healthy network, call ``copy.deepcopy`` on the placed
        model before.

        Args:
            batches: A few hundred inputs without labels: tensors, or tuples whose first element is one. All are kept in memory.
            moments: Result of ``moments`` for the healthy network, in place of ``batches``: each layer is then compensated for
                healthy inputs, and the network is not run. Faster, but less exact where many cells are stuck.
            fault_map: A chip's map, or a merged one, whose conflicts count by the mean error over the members if it was merged
                with ``on_conflict="free"``; None for the map that is live.
            factors: Whether channels before a BatchNorm may take a factor, a quarter to four.
            signs: Whether they may take a sign. FINN folds a negative sign back into the weights: leave it off there.
            sweeps: Passes over the weights of a layer. After each one, channels before a BatchNorm take the factor that fits
                their codes best; for other channels more than one pass helps little.
            samples: Maximum number of input rows used for a layer, evenly spread over images and positions.
            forward: Runs a model on a batch, where that takes more than ``model(batch)``.
            progress: Whether to show a progress bar on standard error.

        Returns:
            The result for each layer; it prints as a table.

        Raises:
            TypeError: If ``fault_map`` is not a fault map.
            ValueError: If there is no map, no input, an input that is not finite, both batches and moments, moments of
                another network, or a model whose order of layers depends on its inputs. The model is then unchanged.

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
        """Measure the second moments of all layers' inputs in a healthy memory: once, to compensate any number of chips.

        The network is not changed. A layer that is called several times is described by the inputs of all its calls.

        Args:
            batches: As for ``compensate_``.
            samples: Maximum number of input rows used for a layer, evenly spread over images and positions.
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
        """Determine the accuracy of the network on every chip of a fleet, each with its own faults.

        The codes that the model computes with now are deployed: after merged retraining, those under the merged map; with no
        faults set, the healthy codes. A chip's certificate lists the codes that it reads differently. A chip that is bit-exact
        has the network's own accuracy, and is not run.

        Args:
            chips: Every chip's own fault map.
            evaluate: Function that takes the model, in evaluation mode, and returns a number: the larger, the better.
            deployment: ``"group_image"``: one memory image for all chips. ``"chip_image"``: one a chip, of the nearest codes.
            name: Heading of the report.
            steps: Optimizer steps that the preparation took; for the report.
            seconds: Seconds that the preparation took; for the report.
            progress: Whether to show a progress bar on standard error.
            engine: Where chips are run, such as a ``RayEngine``; None for this process. ``evaluate`` must be picklable then.
            make: Builds the same network in the processes of the engine, such as ``lambda: tm.make_faulty(Net())``.
            folder: Run folder that keeps the accuracy of every chip that was run; an interrupted run resumes from it. It
                identifies the network by its parameters, buffers, layers and nominal accuracy, and the batches of
                ``batchnorm``.
            evaluation: Name or digest of the data that ``evaluate`` measures on; needed with ``folder``, where it must stay the
                same.
            batchnorm: Batches (inputs, or tuples that begin with one) on which each chip's BatchNorm statistics are measured
                before its accuracy, and then restored; kept in memory. The nominal accuracy uses the network's own statistics.

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
