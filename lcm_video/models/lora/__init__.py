"""LoRAs and their relatives: reading the files, and merging into the weights: no wrapper layers, no cost per step.

A file is read into one `Change` per layer, whatever its spelling (`spelling`) and its algorithm (`changes`); a change
gives what is added to the layer's weight. Adding one algorithm is one class in changes.py and its endings there.
"""

from lcm_video.models.lora.changes import Change, Decomposed, Full, Hadamard, Kronecker, LowRank
from lcm_video.models.lora.configured import configuration
from lcm_video.models.lora.merging import Lora, merge, places
from lcm_video.models.lora.reading import check_family, read
from lcm_video.models.lora.spelling import TEXT, TEXT_2, UNET

__all__ = [
    "TEXT", "TEXT_2", "UNET", "Change", "Decomposed", "Full", "Hadamard", "Kronecker", "Lora", "LowRank",
    "check_family", "configuration", "merge", "places", "read",
]  # fmt: skip
