"""Restore a model after an exporter has changed it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import brevitas.config
import torch
from torch import nn

from tremap_brevitas.proxy.weight_proxy import FaultyWeightProxy


@contextmanager
def unchanged(model: nn.Module, *, even_on_success: bool = True) -> Iterator[None]:
    """Context manager that restores attributes, caches, hooks, modes and ``requires_grad`` of every module.

    Brevitas' exporters put handlers, modes and caches into the modules and remove them at the end, but not after an error.
    Values of tensors are not restored: an exporter runs the model in evaluation mode, in which they do not change.

    Args:
        model: The model.
        even_on_success: Whether to restore the model after a block without an error, too.
    """
    modules = list(model.modules())
    before = [_State(module) for module in modules]
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    ongoing = brevitas.config._ONGOING_EXPORT
    failed = True
    try:
        yield
        failed = False
    finally:
        if failed or even_on_success:
            for state in before:
                state.restore()
            if any(state.scripted for state in before):
                for module in modules:
                    if isinstance(module, FaultyWeightProxy):
                        module.forget_handed_down()
            for parameter, needed in gradients:
                parameter.requires_grad_(needed)
            brevitas.config._ONGOING_EXPORT = ongoing


class _State:
    """Attributes of one module, and the content of its dictionaries and lists."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = module.training
        # A script module keeps its state in C++, out of reach; its mode is all that an exporter changes there.
        self.scripted = isinstance(module, torch.jit.ScriptModule)
        self.attributes: dict[str, Any] = {} if self.scripted else dict(module.__dict__)
        self.held = {
            name: dict(value) if isinstance(value, MutableMapping) else list(value)
            for name, value in self.attributes.items()
            if isinstance(value, (MutableMapping, list))
        }

    def restore(self) -> None:
        if self.scripted:
            self.module.training = self.training
            return
        now = self.module.__dict__
        for name in [name for name in now if name not in self.attributes]:
            del now[name]
        now.update(self.attributes)
        for name, content in self.held.items():
            container = self.attributes[name]
            if isinstance(content, dict):
                if [*map(id, container)] != [*map(id, content)] or any(container[k] is not v for k, v in content.items()):
                    container.clear()
                    container.update(content)
            elif [*map(id, container)] != [*map(id, content)]:
                container[:] = content
