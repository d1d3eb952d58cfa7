"""Loads the few modules of diffusers that models here are made of, without the hundreds beside them.

``import diffusers.models.unets.unet_2d_condition`` runs ``diffusers/models/unets/__init__.py``, which loads every UNet
there is, and the packages beside it every transformer, autoencoder and hook: a fifth of the time until the first step.
While the modules that are needed load, these packages are stood in for by empty ones of the same path. Afterwards
nothing is left of that: whoever imports such a package later runs its own ``__init__``, which finds the modules
already loaded, so every class exists once.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import ModuleType

CROWDED = ("models.unets", "models.transformers", "models.autoencoders", "hooks")
"""Packages in ``diffusers`` that load all of their modules."""

NEEDED = (
    "models.unets.unet_2d_condition", "models.autoencoders.autoencoder_kl", "models.autoencoders.autoencoder_tiny",
)  # fmt: skip
"""Modules in ``diffusers`` that models are built from."""


def load_diffusers() -> None:
    """Loads NEEDED. Where diffusers is loaded already, or is arranged otherwise one day, they load in the usual way."""
    if "diffusers.models.unets" not in sys.modules:
        with suppress(ImportError, AttributeError), _alone():
            for name in NEEDED:
                importlib.import_module(f"diffusers.{name}")


@contextmanager
def _alone() -> Iterator[None]:
    """Stands in for the crowded packages with empty ones."""
    importlib.import_module("diffusers.models")
    names = [f"diffusers.{name}" for name in CROWDED]
    stood_in = {name: _empty(name) for name in names if name not in sys.modules}
    sys.modules.update(stood_in)
    try:
        yield
    finally:
        for name, package in stood_in.items():
            if sys.modules.get(name) is package:
                del sys.modules[name]


def _empty(name: str) -> ModuleType:
    """A package without anything in it, whose modules can be imported."""
    package = ModuleType(name)
    spec = find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is no package")
    package.__path__ = [*spec.submodule_search_locations]
    package.__spec__ = spec
    return package
