"""CUDA graphs: a call of the UNet recorded once for each shape, and replayed with other numbers.

Launching the kernels of one call takes Python tens of milliseconds, as long as a large GPU computes on them; a replay
is one launch.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lcm_video.models.ladder import Notes
from lcm_video.types import Encoding, Latents

Predict = Callable[[Latents, Tensor, Encoding, int], Latents]
Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Runs a function of fixed tensors once: what is given runs it again, and writes into the same tensor."""

CLOSE = 0.02
"""How far a replay may be from the call it was recorded from, as a share of its spread: rounding, no more."""


class Recorded(NamedTuple):
    """A recording: the tensors it reads, its replay, and the tensor it writes."""

    inputs: Mapping[str, Tensor]
    replay: Callable[[], None]
    output: Tensor


class Graphs:
    """Calls ``predict``, from a recording where the shapes are known; plainly wherever recording does not work."""

    def __init__(self, predict: Predict, record: Record, notes: Notes) -> None:
        self.predict, self.record, self.notes = predict, record, notes
        self.usable = True
        self._known: dict[Any, Recorded] = {}
        self._lock = Lock()

    def __call__(self, latents: Latents, timestep: float, encoding: Encoding, clip: int) -> Latents:
        """As ``predict``."""
        step = torch.full((), float(timestep), dtype=torch.float32, device=latents.device)
        inputs = {"latents": latents, "timestep": step, **{f"encoding {name}": rows for name, rows in encoding.items()}}
        # A recording's tensors are one set: threads take turns.
        with self._lock:
            if not self.usable:
                return self.predict(latents, step, encoding, clip)
            key = (clip, *((name, tuple(value.shape), value.dtype) for name, value in sorted(inputs.items())))
            if key not in self._known:
                return self._first(key, inputs, clip)
            known = self._known[key]
            for name, value in inputs.items():
                known.inputs[name].copy_(value)
            known.replay()
            return known.output.clone()

    def _first(self, key: Any, inputs: Mapping[str, Tensor], clip: int) -> Latents:
        """The first call of a shape: computed plainly, recorded, and the recording compared with it."""
        own = {name: value.clone(memory_format=torch.preserve_format) for name, value in inputs.items()}
        encoding = {name.removeprefix("encoding "): own[name] for name in own if name.startswith("encoding ")}

        def run() -> Tensor:
            return self.predict(own["latents"], own["timestep"], encoding, clip)

        plain = run()
        try:
            replay, output = self.record(run)
            replay()
            wrong = not torch.allclose(output.float(), plain.float(), atol=CLOSE * float(plain.float().std()), rtol=0)
        except torch.AcceleratorError:
            raise
        except RuntimeError as error:
            self._give_up(str(error).splitlines()[0])
        else:
            if wrong:
                self._give_up("its replay gave other numbers")
            else:
                self._known[key] = Recorded(own, replay, output)
        return plain

    def _give_up(self, reason: str) -> None:
        """Goes on without recordings, whose memory is given back."""
        self.usable = False
        self._known.clear()
        self.notes.add(f"CUDA graphs are not used, calls of the UNet are launched one by one: {reason}")


def graphs_for(model: nn.Module, predict: Predict, compile: str, notes: Notes) -> Graphs | None:
    """What records the calls of a model on a GPU; None where there is nothing to gain, or it is not wanted."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return None
    if compile == "off":
        return None
    if compile == "blocks":
        from lcm_video.models.compiling import compile_blocks

        compile_blocks(model)
    return Graphs(predict, captured, notes)


def captured(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of ``run``: its replay, and the tensor that holds its result."""
    # Work that is done in the first calls only (choice of kernels, compiling) must not be recorded.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()
    return graph.replay, output
