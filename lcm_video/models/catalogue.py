"""Where well-known models come from, for `lcm-video models get`. A new one is a line here."""

from typing import NamedTuple

from lcm_video.errors import CheckpointError, did_you_mean


class Item(NamedTuple):
    """A file in a repository of Hugging Face's hub, where it goes, and what it is called there."""

    repo: str
    file: str
    folder: str = ""
    name: str = ""
    licence: str = ""

    @property
    def saved_as(self) -> str:
        """The name of the file on this machine."""
        return self.name or self.file.rpartition("/")[2]


SD, LCM = "stabilityai", "latent-consistency"
LORA = "pytorch_lora_weights.safetensors"
RAIL = "CreativeML OpenRAIL"

CATALOGUE = {
    "dreamshaper-8": Item(
        "Lykon/DreamShaper", "DreamShaper_8_pruned.safetensors", "checkpoints", "dreamshaper_8.safetensors", f"{RAIL}-M"
    ),
    "sdxl-base": Item(
        f"{SD}/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors", "checkpoints", licence=f"{RAIL}++-M"
    ),
    "vae-ft-ema-560000": Item(
        f"{SD}/sd-vae-ft-ema-original", "vae-ft-ema-560000-ema-pruned.safetensors", "vae", licence="MIT"
    ),
    "vae-ft-mse-840000": Item(
        f"{SD}/sd-vae-ft-mse-original", "vae-ft-mse-840000-ema-pruned.safetensors", "vae", licence="MIT"
    ),
    "lcm-lora-sdv1-5": Item(f"{LCM}/lcm-lora-sdv1-5", LORA, "loras", "lcm_lora_sd15.safetensors", f"{RAIL}++-M"),
    "lcm-lora-sdxl": Item(f"{LCM}/lcm-lora-sdxl", LORA, "loras", "lcm_lora_sdxl.safetensors", f"{RAIL}++-M"),
    "animatediff-v2": Item("guoyww/animatediff", "mm_sd_v15_v2.ckpt", "motion_modules", licence="Apache-2.0"),
    "animatediff-v3": Item("guoyww/animatediff", "v3_sd15_mm.ckpt", "motion_modules", licence="Apache-2.0"),
    "animatelcm": Item("wangfuyun/AnimateLCM", "AnimateLCM_sd15_t2v.ckpt", "motion_modules", licence="MIT"),
}
"""By a short name: the reference setup and its alternatives. What the hub says of a licence goes first."""


USUAL = (
    ("dreamshaper_8", "dreamshaper-8", "DreamShaper_8_pruned"),
    ("vae-ft-ema-560000-ema-pruned", "vae-ft-ema-560000", "ema-560000"),
    ("vae-ft-mse-840000-ema-pruned", "vae-ft-mse-840000", "mse-840000"),
    ("lcm_lora_sd15", "lcm-lora-sdv1-5", "lcm-lora-sd15", "LCM_LoRA_Weights_SD15"),
    ("lcm_lora_sdxl", "lcm-lora-sdxl", "LCM_LoRA_Weights_SDXL"),
    ("sd_xl_base_1.0", "sdxl_base_1.0"),
)
"""Names under which one and the same model lies in people's folders: a storyboard may use any of them."""


def other_names(name: str) -> tuple[str, ...]:
    """The other usual names of the model file ``name``."""
    stem = name.rpartition("/")[2].lower().removesuffix(".safetensors").removesuffix(".ckpt")
    known = next((names for names in USUAL if stem in map(str.lower, names)), ())
    return tuple(other for other in known if other.lower() != stem)


def wanted(name: str) -> Item:
    """The item that ``name`` stands for: one of the catalogue, or ``owner/repo/file``. Raises CheckpointError."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    owner, _, rest = name.partition("/")
    repo, _, file = rest.partition("/")
    if owner and repo and file and ".." not in file.split("/"):
        return Item(f"{owner}/{repo}", file)
    raise CheckpointError(
        f"{name!r} is no model that is known here", remedy=f"{did_you_mean(name, CATALOGUE)}; or owner/repo/file"
    )
