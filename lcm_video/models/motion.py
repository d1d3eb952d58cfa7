"""Motion modules: reading their files, and injecting their layers into an ordinary image UNet.

A motion module holds one temporal layer per block layer of the UNet. Each is placed right after the spatial attention
it continues, or after the resnet in blocks without attention. Nothing else about the UNet changes, so LoRAs,
ControlNets and samplers keep working, and `eject` gives back the image UNet, bit for bit.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from lcm_video.errors import CheckpointError
from lcm_video.models.call import current
from lcm_video.models.cards import Card
from lcm_video.models.temporal import Hidden, TemporalLayer, shared, sinusoids

MotionModule = Mapping[str, TemporalLayer]
"""Temporal layers by site, for example ``down_blocks.0.motion_modules.1``."""

# Other files name parameters differently from diffusers': the authors', and Hotshot-XL's.
RENAMED = {
    "temporal_attentions.": "motion_modules.",
    "temporal_transformer.": "",
    "attention_blocks.0.": "attn1.",
    "attention_blocks.1.": "attn2.",
    "norms.0.": "norm1.",
    "norms.1.": "norm2.",
    "ff_norm.": "norm3.",
}
SITE = re.compile(r"(?:module\.)?((?:down_blocks\.\d+|mid_block|up_blocks\.\d+)\.motion_modules\.\d+)\.(.+)")
POSITIONED = "transformer_blocks.0.positions"
REMEDY = "use a motion module of the checkpoint's family, complete; SD 1.5 modules fit only SD 1.5 checkpoints"


def read(weights: Mapping[str, Tensor], card: Card) -> dict[str, TemporalLayer]:
    """The layers of a motion module from its weights, under any of the known namings; sizes come from the weights.

    Other keys are left alone (training runs save more than the module). Raises CheckpointError if a layer is
    incomplete, or a weight is not a number.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for key, weight in weights.items():
        if match := SITE.fullmatch(renamed(key)):
            site, parameter = match.groups()
            layers.setdefault(site, {})[parameter] = weight
    if not layers:
        raise CheckpointError("no temporal layers were found in the motion module", remedy=REMEDY)
    return {site: layer(site, state, card) for site, state in layers.items()}


def unused(weights: Mapping[str, Any]) -> tuple[str, ...]:
    """What to tell about weights beside the temporal layers, which `read` leaves alone."""
    others = [key for key in weights if not SITE.fullmatch(renamed(key))]
    if any(key.removeprefix("module.").startswith("conv_in.") for key in others):
        return ("it is a PIA module: its conv_in, which looks at a picture, is not used, only its motion",)
    return (f"{len(others)} other weights in the file are not used",) if others else ()


def renamed(key: str) -> str:
    """A parameter's name in diffusers' spelling."""
    for old, new in RENAMED.items():
        key = key.replace(old, new)
    return re.sub(r"(attn\d\.pos_encoder\.\w+|pos_embed\.pe)$", "positions", key)


def layer(site: str, state: Mapping[str, Tensor], card: Card) -> TemporalLayer:
    """One temporal layer with the weights in ``state``."""
    if "norm.weight" not in state:
        raise CheckpointError(f"{site}.norm.weight is missing", remedy=REMEDY)
    channels = len(state["norm.weight"])
    if channels % card.groups or channels % card.heads:
        message = f"{site} has {channels} channels, which {card.groups} groups and {card.heads} heads do not divide"
        raise CheckpointError(message, remedy="write a card for this module: `heads` and `groups` stand in its YAML")
    with torch.device("meta"):
        module = TemporalLayer(
            channels, heads=card.heads, groups=card.groups, max_frames=card.max_frames, norm=card.norm
        )
    wanted = module.state_dict()
    state = {**state, POSITIONED: positions(state, channels, card.max_frames)}
    if missing := [name for name in wanted if name not in state]:
        message = f"{site}: {len(missing)} weights are missing, first {missing[0]}"
        raise CheckpointError(message, remedy=REMEDY)
    for name, weight in state.items():
        check(f"{site}.{name}", weight, wanted.get(name))
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def check(name: str, weight: Tensor, wanted: Tensor | None) -> None:
    """Raises CheckpointError if a weight has no place, another shape, or is not a number."""
    if wanted is None or weight.shape != wanted.shape:
        raise CheckpointError(f"{name} {tuple(weight.shape)} does not fit a temporal layer", remedy=REMEDY)
    if not torch.isfinite(weight.float()).all():
        message = f"{name} holds NaN or infinity: the file is damaged"
        raise CheckpointError(message, remedy="download it again; bad float16 conversions do this, too")


def positions(state: Mapping[str, Tensor], channels: int, frames: int) -> Tensor:
    """The position codes of a layer: those of the file (stored as [1, frames, channels]), else computed."""
    if (stored := state.get(POSITIONED)) is not None:
        return stored.flatten(0, -2)[:frames]
    return sinusoids(frames, channels)


class Spatiotemporal(nn.Module):
    """A spatial layer followed by a temporal one, over a batch of consecutive frames."""

    def __init__(self, spatial: nn.Module, temporal: TemporalLayer) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the spatial layer is called: resnets give a tensor, attentions a tuple with one."""
        out = self.spatial(*args, **kwargs)
        return (self.temporal(out[0]),) if isinstance(out, tuple) else self.temporal(out)


class SharedNorm(nn.Module):
    """A GroupNorm whose statistics are those of the whole clip."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Hidden) -> Hidden:
        return shared(self.norm, x, current(len(x)).clip)


def original(name: str) -> str:
    """The name that a layer of a UNet had before injection; a temporal layer's is that of its site.

    >>> original("down_blocks.0.attentions.1.temporal.proj_in"), original("down_blocks.0.attentions.1.spatial.proj_in")
    ('down_blocks.0.motion_modules.1.proj_in', 'down_blocks.0.attentions.1.proj_in')
    """
    name = re.sub(r"\.(?:attentions|resnets)\.(\d+)\.temporal\.", r".motion_modules.\1.", name)
    # A shared norm holds the norm it replaces.
    return re.sub(r"(\.norm\d|conv_norm_out)\.norm$", r"\1", name.replace(".spatial.", "."))


def sites(unet: UNet2DConditionModel) -> Iterator[tuple[str, nn.ModuleList, int]]:
    """Where temporal layers go: site, the block's layers, and the index among them."""
    blocks: list[tuple[str, Any]] = [("mid_block", unet.mid_block)]
    blocks += [(f"down_blocks.{i}", block) for i, block in enumerate(unet.down_blocks)]
    blocks += [(f"up_blocks.{i}", block) for i, block in enumerate(unet.up_blocks)]
    for name, block in blocks:
        layers = getattr(block, "attentions", None) or block.resnets
        for index in range(len(layers)):
            yield f"{name}.motion_modules.{index}", layers, index


def image_norms(unet: UNet2DConditionModel) -> Iterator[tuple[nn.Module, str]]:
    """The norms that v1 modules were trained with over the window: of all resnets and of the output; owner and name."""
    for module in unet.modules():
        if hasattr(module, "conv1") and hasattr(module, "conv2"):
            yield from ((module, "norm1"), (module, "norm2"))
    yield unet, "conv_norm_out"


def inject(unet: UNet2DConditionModel, motion: MotionModule, *, shared_norm: bool = False) -> None:
    """Places every layer of ``motion`` in ``unet``. Raises CheckpointError if one has no place, or a place none.

    A middle block without a temporal layer is as it should be: only some modules have one.
    """
    places = {site: (layers, index) for site, layers, index in sites(unet)}
    if orphans := sorted(motion.keys() - places.keys()):
        message = f"{len(orphans)} temporal layers have no place in this UNet, first {orphans[0]}"
        raise CheckpointError(message, remedy=REMEDY)
    if empty := sorted(site for site in places.keys() - motion.keys() if not site.startswith("mid_block")):
        raise CheckpointError(f"the motion module lacks {len(empty)} layers, first {empty[0]}", remedy=REMEDY)
    for site, temporal in motion.items():
        layers, index = places[site]
        if (ours := temporal.proj_in.in_features) != (theirs := layers[index].out_channels):
            message = f"{site} has {ours} channels in the motion module and {theirs} in this UNet"
            raise CheckpointError(message, remedy=REMEDY)
    for site, temporal in motion.items():
        layers, index = places[site]
        layers[index] = Spatiotemporal(layers[index], temporal.to(unet.device, unet.dtype))
    if shared_norm:
        share_norms(unet)


def share_norms(unet: UNet2DConditionModel) -> None:
    """Lets the image layers' norms take statistics over each clip, as v1 modules were trained, until `eject`."""
    for owner, name in list(image_norms(unet)):
        setattr(owner, name, SharedNorm(getattr(owner, name)))


def eject(unet: UNet2DConditionModel) -> None:
    """Takes the temporal layers out again and gives the norms back, leaving the image UNet exactly as it was."""
    for _, layers, index in sites(unet):
        if isinstance(found := layers[index], Spatiotemporal):
            layers[index] = found.spatial
    for owner, name in list(image_norms(unet)):
        if isinstance(found := getattr(owner, name), SharedNorm):
            setattr(owner, name, found.norm)
