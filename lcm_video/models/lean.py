"""Loads the few modules of diffusers that are needed, without the thousands beside them.

``import diffusers.models.unets.unet_2d_condition`` runs ``diffusers/models/unets/__init__.py``, which loads every UNet
there is, and the packages beside it every transformer, autoencoder and hook. Its loaders want classes of transformers
and all schedulers, for pipelines; its blocks are marked for torch's compiler, which brings sympy along. Together that
is three quarters of the time until the first step.

While the modules that are needed load, these packages are stood in for by empty ones. Afterwards nothing is left of
that in ``sys.modules``: whoever imports such a package later gets the real one, every class of diffusers exists once,
and the classes that were stood in for are looked up when they are used.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

CROWDED = ("models.unets", "models.transformers", "models.autoencoders", "hooks")
"""Packages in ``diffusers`` that load all of their modules."""

NEEDED = (
    "models.unets.unet_2d_condition", "models.autoencoders.autoencoder_kl", "models.autoencoders.autoencoder_tiny",
)  # fmt: skip
"""Modules in ``diffusers`` that models are built from."""

UNUSED = ("transformers", "requests")
"""Packages of others, for pipelines and for pictures from the web."""

COMPILER = "torch._dynamo"

MARKED: list[Callable[..., Any]] = []
"""What diffusers wants the compiler not to look into; `mark_for_compiler` tells it."""


def load_diffusers() -> None:
    """Loads NEEDED. Where diffusers is loaded already, or is arranged otherwise one day, they load in the usual way."""
    if f"diffusers.{NEEDED[0]}" in sys.modules:
        return
    unwanted = [_compiler(), *(_later(name) for name in UNUSED if find_spec(name))]
    with suppress(Exception), _standing_in(*unwanted):
        importlib.import_module("diffusers.models")
        crowded = [_empty(f"diffusers.{name}") for name in CROWDED]
        with _standing_in(_later("diffusers.schedulers"), *crowded):
            for name in NEEDED:
                importlib.import_module(f"diffusers.{name}")


def mark_for_compiler() -> None:
    """Tells torch's compiler what diffusers would have told it; to be called before anything is compiled."""
    compiler = importlib.import_module(COMPILER)
    while MARKED:
        compiler.allow_in_graph(MARKED.pop())


@contextmanager
def _standing_in(*packages: ModuleType) -> Iterator[None]:
    """Puts packages in the places of those that are not loaded yet."""
    stood_in = {package.__name__: package for package in packages if package.__name__ not in sys.modules}
    sys.modules.update(stood_in)
    try:
        yield
    finally:
        for name, package in stood_in.items():
            if sys.modules.get(name) is package:
                del sys.modules[name]


def _empty(name: str) -> ModuleType:
    """A package without anything in it, whose modules can be imported."""
    package = _nothing(name)
    package.__path__ = [*(_spec(name).submodule_search_locations or ())]
    return package


def _compiler() -> ModuleType:
    """torch's compiler, of which diffusers wants to mark what it should not look into. Asked for more, it is loaded."""

    def allow_in_graph(marked: Callable[..., Any]) -> Callable[..., Any]:
        if sys.modules.get(COMPILER, package) is not package:
            return sys.modules[COMPILER].allow_in_graph(marked)
        MARKED.append(marked)
        return marked

    def disable(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
        if function is None:
            return disable
        function.__dict__["_torchdynamo_disable"] = True
        return function

    def more(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(COMPILER) is package:
            del sys.modules[COMPILER]
        return getattr(importlib.import_module(COMPILER), name)

    package = _nothing(COMPILER)
    package.__dict__.update(allow_in_graph=allow_in_graph, disable=disable, __getattr__=more)
    return package


def _later(name: str) -> ModuleType:
    """A package whose classes are looked up when they are used."""

    def later(of: str) -> type:
        if of.startswith("__"):
            raise AttributeError(of)
        return Later(of, (), {"__module__": name})

    package = _nothing(name)
    package.__dict__["__getattr__"] = later
    return package


def _nothing(name: str) -> ModuleType:
    """A module that is told from outside to be there: whoever only asks whether it is installed hears the truth."""
    module = ModuleType(name)
    module.__spec__ = _spec(name)
    return module


def _spec(name: str) -> ModuleSpec:
    spec = find_spec(name)
    if spec is None:
        raise ImportError(f"there is no {name}")
    return spec


class Later(type):
    """A class that stands in for the one of its name in its module: when it is called, asked, or checked against."""

    def _real(cls) -> Any:
        return getattr(importlib.import_module(cls.__module__), cls.__name__)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # inspection, which is no use of it
            raise AttributeError(name)
        return getattr(cls._real(), name)

    def __call__(cls, *args: Any, **more: Any) -> Any:
        return cls._real()(*args, **more)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._real())

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls._real())
