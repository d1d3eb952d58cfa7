"""The table of contents of a PyTorch file: names and shapes of its weights, without torch and without trust.

Such a file is a program for Python's pickle machine. Here it runs with nothing to call: every class it names is
replaced by an inert stand-in, and a file that names anything but tensors and the harmless company of old training runs
is refused. Loading then goes through torch's own ``weights_only`` reader, with the same list.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

from lcm_video.errors import CheckpointError
from lcm_video.models.container import AGAIN, MOST_TENSORS, Container

LARGEST_TABLE = 64_000_000
"""Bytes of pickle before the weights; those of SDXL checkpoints have under one million."""

STORAGES = {"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
STORAGES |= {"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8"}
STORAGES |= {"ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8"}

FLOAT8 = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}

HARMLESS = {
    "collections.OrderedDict",
    *(f"{python}.{name}" for python in ("builtins", "__builtin__") for name in ("set", "dict", "list", "int", "float")),
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")),
    "torch.nn.modules.container.ParameterDict",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.Tensor",
    "torch.device",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    *(f"torch.{name}" for name in STORAGES),
    *(f"torch.storage.{name}" for name in ("TypedStorage", "UntypedStorage")),
    *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
    *(f"torch.{name}" for name in FLOAT8),
    *(f"{core}.multiarray.{name}" for core in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "numpy.dtypes.Float64DType", "numpy.dtypes.Float32DType"),
    *("numpy.dtypes.Int64DType", "_codecs.encode"),
}
"""What a weight file may name. None of it is imported here; none of it can do harm in torch's reader."""


class Shaped(NamedTuple):
    """A tensor, as the file describes it."""

    shape: tuple[int, ...]
    dtype: str


class Stand:
    """What an object of a class named in the file becomes: nothing that could act."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None:
        """Takes an item, and forgets it."""

    def extend(self, items: Any) -> None:
        """Takes items, and forgets them."""


class Refused(pickle.UnpicklingError):
    """Raised for a name that is not in `HARMLESS`."""


DROPPED = {op[0] for op in (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER)}
"""Operations that name things by number, or reserve memory that the file does not fill."""


class Inert(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Python's own pickle machine (the slow one: its memory grows only with the file), with nothing to call."""

    dispatch: ClassVar = {
        code: run
        for code, run in pickle._Unpickler.dispatch.items()  # pyright: ignore[reportAttributeAccessIssue]
        if code not in DROPPED
    }

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for what the file names."""
        called = f"{module}.{name}"
        if called not in HARMLESS:
            raise Refused(called)
        if called == "collections.OrderedDict":
            return OrderedDict
        if called == "torch._utils._rebuild_parameter":
            return lambda tensor, *rest: tensor
        if name.startswith("_rebuild_tensor"):
            typed = name.endswith("3")  # names its type itself, as its storage has none
            return lambda storage, offset, shape, *rest: Shaped(tuple(shape), rest[-1] if typed else storage)
        if name in STORAGES or name in FLOAT8:
            return (STORAGES | FLOAT8)[name]
        return type(name, (Stand,), {})

    def persistent_load(self, pid: Any) -> str:
        """The type of a storage: ``("storage", type, …)``."""
        return pid[1] if isinstance(pid, tuple) and len(pid) > 1 and isinstance(pid[1], str) else ""


def table(path: Path, container: Container) -> dict[str, Shaped]:
    """The tensors in a PyTorch file by name, without ``state_dict`` and ``module.`` around them.

    An embedding's vectors keep the name of the map they are in. Raises CheckpointError if the file is damaged, is made
    to fill the memory, or names what no weight file needs.
    """
    if path.suffix.lower() == ".safetensors":  # torch would go by the ending
        message = f"{path.name} is a PyTorch file (a pickle) under a .safetensors name"
        raise CheckpointError(message, remedy="if you trust where it comes from, rename it to .ckpt")
    try:
        with path.open("rb") as file:
            found = _zipped(path, file) if container == "zip" else _bare(file)
        tensors = dict(flat(unwrapped(found)))
    except Refused as error:
        raise refused(path, str(error)) from None
    except CheckpointError:
        raise
    except Exception as error:  # a damaged program can fail in any way
        message = f"{path.name} cannot be read: {type(error).__name__}"
        raise CheckpointError(message, remedy=AGAIN) from None
    if not isinstance(found, Mapping):
        what = "Tensor" if isinstance(found, Shaped) else type(found).__name__
        message = f"{path.name} holds {what}, not weights by name"
        raise CheckpointError(message, remedy="give a checkpoint, motion module, LoRA, VAE or embedding")
    if len(tensors) > MOST_TENSORS:
        message = f"{path.name} claims to hold {len(tensors):,} tensors; models have at most a few thousand"
        raise CheckpointError(message, remedy="it is not a model file: get the model from its source")
    return tensors


def refused(path: Path, wants: str) -> CheckpointError:
    """The error for a file that wants more than tensors."""
    message = f"{path.name} was refused: it wants to run {wants}, which no model needs (unsafe)"
    return CheckpointError(message, remedy="get its .safetensors version, from a source that you trust")


def _zipped(path: Path, file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        size = path.stat().st_size
        if packed or sum(entry.file_size for entry in entries) > size or len(entries) > 3 * MOST_TENSORS:
            message = f"{path.name} is no model file: its content is packed, and would unpack to more than is there"
            raise CheckpointError(message, remedy="PyTorch never packs weights: get the model from its source")
        pickles = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            message = f"{path.name} is a zip file, but not one of PyTorch's: it has {len(pickles)} data.pkl"
            raise CheckpointError(message, remedy="unpack it if the model is inside")
        if pickles[0].file_size > LARGEST_TABLE:
            message = f"{path.name} has {pickles[0].file_size:,} bytes of program before its weights"
            raise CheckpointError(message, remedy="it is not a model file: get the model from its source")
        return Inert(io.BytesIO(archive.read(pickles[0]))).load()


def _bare(file: IO[bytes]) -> Any:
    """From before PyTorch 1.6: three small pickles that tell of the writer, then the weights' program."""
    first = Inert(file).load()
    if first != 0x1950A86A20F9469CFC6C:  # not PyTorch's mark: a plain pickle
        return first
    for _ in range(2):
        Inert(file).load()
    return Inert(file).load()


def unwrapped(found: Any) -> Any:
    """What is inside ``state_dict``, however deep, without the ``module.`` that parallel training puts on names."""
    while isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        return found
    names = [name for name, value in found.items() if isinstance(value, Shaped) or hasattr(value, "dtype")]
    if names and all(str(name).startswith("module.") for name in names):
        return {str(name).removeprefix("module."): value for name, value in found.items()}
    return {str(name): value for name, value in found.items()}


def flat(found: Any) -> Iterator[tuple[str, Shaped]]:
    """Yields tensors by name; those of a map inside by ``map.name``; for a map of embeddings the map's name counts."""
    for name, value in found.items() if isinstance(found, Mapping) else ():
        if isinstance(value, Shaped):
            yield str(name), value
        elif isinstance(value, Mapping) or (isinstance(value, Stand) and name == "string_to_param"):
            inside = value if isinstance(value, Mapping) else _parameters(value)
            for inner, tensor in inside.items():
                if isinstance(tensor, Shaped):
                    yield (f"{name}" if name == "string_to_param" else f"{name}.{inner}"), tensor


def _parameters(stand: Stand) -> dict[str, Any]:
    """The tensors anywhere in the state of an ``nn.ParameterDict``."""
    found, rest = {}, [getattr(stand, "state", None)]
    while rest:
        state = rest.pop()
        if isinstance(state, Shaped):
            found[str(len(found))] = state
        elif isinstance(state, Mapping):
            rest.extend(state.values())
        elif isinstance(state, list | tuple):
            rest.extend(state)
    return found
