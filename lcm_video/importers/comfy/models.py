"""The MODEL, CLIP and VAE lines of a workflow: weights, LoRAs, motion modules, and which noise schedule wins.

ComfyUI applies patches in the order of the line, and the last ``model_sampling`` replaces those before it: with the
motion module's loader first and ModelSamplingDiscrete after it, the module's own betas are gone.
"""

from typing import Any

from lcm_video.importers.comfy.graph import Node
from lcm_video.importers.comfy.reading import Reading, file_name, stem
from lcm_video.importers.comfy.sampling import board_sampler
from lcm_video.models.cards import cards

LINEAR = {"start": 0.00085, "end": 0.012, "schedule": "linear"}
SCALED = {"start": 0.00085, "end": 0.012, "schedule": "scaled_linear"}
BETAS: dict[str, dict[str, Any]] = {
    "sqrt_linear (AnimateDiff)": LINEAR,
    "linear (AnimateDiff-SDXL)": {"start": 0.00085, "end": 0.02, "schedule": "scaled_linear"},
    "linear (HotshotXL/default)": SCALED,
    "linear": SCALED,
    "sqrt_linear": LINEAR,
    "lcm": SCALED,
    "lcm[100_ots]": SCALED,
    "lcm >> sqrt_linear": LINEAR,
}
"""ComfyUI's names for noise schedules, in diffusers' terms: its ``linear`` is scaled_linear here."""

CHECKPOINTS = (
    "CheckpointLoaderSimple", "CheckpointLoader", "CheckpointLoaderSimpleWithNoiseSelect", "Efficient Loader",
    "unCLIPCheckpointLoader", "UNETLoader",
)  # fmt: skip
LORAS = ("LoraLoader", "LoraLoaderModelOnly", "LoraLoader|pysssss", "Load Lora")
ALREADY = ("autoselect", "use existing", "default", "")


class ModelLine:
    """Walks back along the MODEL line from the node that draws."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.betas_by = ""  # the node whose noise schedule counts: the last on the line
        self.loras: list[tuple[Node, str, float]] = []

    def read(self, node: Node) -> None:
        """Takes everything on the line that leads to ``node``, and from the VAE and CLIP loaders beside it."""
        seen = set()
        at = self.reading.graph.source(node, "model", "guider")
        while at and at[0].id not in seen:
            seen.add(at[0].id)
            self.take(at[0])
            at = self.reading.graph.source(at[0], "model", "base_model", "MODEL")
        for other, name, strength in reversed(self.loras):
            self._lora(other, name, strength)

    def sampler(self, node: Node) -> None:
        """Takes the motion module of ArtVentureX's sampler, which is linked to it rather than to the model."""
        from lcm_video.importers.comfy.motion import read_motion_of_sampler

        read_motion_of_sampler(self.reading, node)

    def take(self, node: Node) -> None:
        """Takes one node of the line."""
        reading = self.reading
        if node.type in CHECKPOINTS:
            self._checkpoint(node)
        elif reading.graph.source(node, "lora_stack"):
            self._stack(node)
        elif node.type in LORAS or "lora_name" in node.inputs:
            name = reading.text(node, "lora_name")
            self.loras.append((node, name, reading.number(node, "strength_model", 1.0)))
        elif node.type == "ModelSamplingDiscrete":
            self._model_sampling(node)
        elif node.type == "ADE_UseEvolvedSampling" or ("model_name" in node.inputs and "beta_schedule" in node.inputs):
            from lcm_video.importers.comfy.motion import read_motion

            read_motion(reading, node)
            self._betas(node)
        elif node.type.startswith("FreeU"):
            reading.whole(node, "ignored", "FreeU is not there")
        elif node.type.endswith("Guider"):
            reading.taken.setdefault(node.id, set())
        else:
            reading.whole(node, "ignored", "changes the model in a way that is not known here")

    def _checkpoint(self, node: Node) -> None:
        reading = self.reading
        field = "unet_name" if node.type == "UNETLoader" else "ckpt_name"
        name = reading.text(node, field)
        reading.keep(node, field, "model.checkpoint", file_name(name))
        if "beta_schedule" in node.inputs:
            self._betas(node)
        if node.type == "Efficient Loader":
            self._efficient(node)

    def _efficient(self, node: Node) -> None:
        reading = self.reading
        lora, vae = reading.text(node, "lora_name", "None"), reading.text(node, "vae_name", "Baked VAE")
        if lora not in ("None", ""):
            self.loras.append((node, lora, reading.number(node, "lora_model_strength", 1.0)))
        if vae not in ("Baked VAE", ""):
            reading.keep(node, "vae_name", "model.vae", file_name(vae))
        reading.value(node, "lora_clip_strength")
        read_clip_skip(reading, node, "clip_skip")

    def _stack(self, node: Node) -> None:
        """LoRAs of stacks, three in a node, each with a switch; a stack may lead on to another."""
        reading, seen = self.reading, set()
        reading.taken.setdefault(node.id, set())
        at = reading.graph.source(node, "lora_stack")
        while at and at[0].id not in seen:
            stack = at[0]
            seen.add(stack.id)
            for number in (3, 2, 1):
                name = reading.text(stack, f"lora_name_{number}", "None")
                reading.value(stack, f"clip_weight_{number}")
                strength = reading.number(stack, f"model_weight_{number}", 1.0)
                if reading.value(stack, f"switch_{number}", "On") in ("On", True):
                    self.loras.append((stack, name, strength))
            at = reading.graph.source(stack, "lora_stack")

    def _lora(self, node: Node, name: str, strength: float) -> None:
        """Writes one LoRA; two of one name become two."""
        reading = self.reading
        if not name or name == "None":
            return
        loras = reading.board.setdefault("model", {}).setdefault("loras", {})
        key = stem(name)
        while key in loras:
            key = f"{key}_again"
        scale = min(max(strength, -10.0), 10.0)
        other = reading.number(node, "strength_clip", strength) if "strength_clip" in node.inputs else strength
        field = "lora_name"
        if other != strength:
            reason = f"{other:g} for the text encoder; one strength counts for both here"
            reading.find(node, "strength_clip", "approximated", reason)
        path = file_name(name)
        reading.keep(node, field, f"model.loras.{key}", path if scale == 1 else {"path": path, "scale": scale})

    def _model_sampling(self, node: Node) -> None:
        """ModelSamplingDiscrete: the betas of plain Stable Diffusion, and LCM's way of reading the model."""
        reading = self.reading
        sampling = reading.text(node, "sampling", "eps")
        if self.betas_by:
            reading.whole(node, "ignored", f"{self.betas_by} comes after it and replaces its noise schedule")
            return
        self.betas_by = str(node)
        why = "it comes last on the model's line, so it replaces the motion module's own noise schedule"
        reading.keep(node, "sampling", "sampling.betas", dict(SCALED), "exact", why)
        reading.comments["sampling.betas"] = (
            f"{node} came after the motion module there; without this line its own count"
        )
        if sampling not in ("lcm", "eps"):
            reading.find(node, "sampling", "ignored", f"models that predict {sampling[:30]} are not drawn here")
        if sampling == "lcm" and board_sampler(reading.board) != "lcm":
            reading.find(node, "sampling", "approximated", "LCM's boundary is kept only by the sampler lcm")
        if reading.value(node, "zsnr"):
            reading.find(node, "zsnr", "ignored", "noise schedules that end in pure noise are not there")

    def _betas(self, node: Node) -> None:
        """An AnimateDiff loader's choice of noise schedule."""
        reading = self.reading
        choice = reading.text(node, "beta_schedule", "autoselect")
        if choice in ALREADY:
            if choice == "use existing" and not self.betas_by:
                self.betas_by = str(node)
                reading.keep(node, "beta_schedule", "sampling.betas", dict(SCALED), "exact", "the checkpoint's own")
            elif not self.betas_by:
                self.betas_by = str(node)
                reading.find(node, "beta_schedule", "exact", "as the motion module's card says")
            return
        if self.betas_by:
            reading.find(node, "beta_schedule", "ignored", f"{self.betas_by} comes after it and replaces {choice[:40]}")
            return
        self.betas_by = str(node)
        betas, near = BETAS.get(choice), choice in ("lcm[100_ots]",)
        if betas and not near and betas == _betas_of(reading.board.get("model", {}).get("motion", "")):
            reading.find(node, "beta_schedule", "exact", "as the motion module's card says")
            return
        reason = "" if betas and not near else f"{choice[:40]} is not there"
        reading.keep(
            node,
            "beta_schedule",
            "sampling.betas",
            dict(betas or LINEAR),
            "approximated" if reason else "exact",
            reason,
        )


def _betas_of(motion: str) -> dict[str, Any]:
    """The noise schedule on the card of a well-known motion module; empty for others."""
    card = next((card for card in cards().values() if card.is_called(motion)), None) if motion else None
    return {name: getattr(card.betas, name) for name in LINEAR} if card else {}


def read_clip_skip(reading: Reading, node: Node, name: str) -> None:
    """CLIP's last layer: −1 is the last there, 1 here."""
    layer = int(reading.number(node, name, -1))
    skip = min(max(-layer, 1), 12)
    fits = skip == -layer
    reading.keep(
        node, name, "model.clip_skip", skip, "exact" if fits else "approximated", "" if fits else f"{layer} there"
    )


def read_clip(reading: Reading, link: tuple[Node, int] | None) -> None:
    """Walks back along the CLIP line: the layer that is read counts once, where it is set last."""
    seen, skipped = set(), False
    while link and link[0].id not in seen:
        node, _ = link
        seen.add(node.id)
        if node.type == "CLIPSetLastLayer":
            if skipped:
                reading.whole(node, "ignored", "another one comes after it")
            else:
                read_clip_skip(reading, node, "stop_at_clip_layer")
            skipped = True
        link = reading.graph.source(node, "clip", "CLIP")


def read_vae(reading: Reading, decoder: Node | None) -> None:
    """The VAE that decodes the film, if it is not the checkpoint's own."""
    at, seen = (reading.graph.source(decoder, "vae", "optional_vae") if decoder else None), set()
    while at and at[0].id not in seen:
        node = at[0]
        seen.add(node.id)
        if node.type == "VAELoader" or ("vae_name" in node.inputs and node.type not in CHECKPOINTS):
            name = reading.text(node, "vae_name")
            reading.keep(node, "vae_name", "model.vae", file_name(name))
            return
        if node.type in CHECKPOINTS:
            return
        at = reading.graph.source(node, "vae", "optional_vae")
