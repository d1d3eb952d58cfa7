"""diffusers' AnimateDiffPipeline beside a pipeline of ours: the same weights, encodings, noise and encoder settings.

Two things are in the peer's favour: the LCM-LoRA is merged into its weights (as people use it, peft adds the LoRA at
every call), and the encoding of every frame is handed to it (by itself it shows one prompt for the whole film).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MethodType
from typing import Any

import av
import diffusers.schedulers.scheduling_lcm as lcm
import numpy as np
import torch
from diffusers import AnimateDiffPipeline, LCMScheduler, MotionAdapter, UNetMotionModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.utils import logging as diffusers_logging
from einops import rearrange
from transformers.utils import logging as transformers_logging

from lcm_video.models import motion
from lcm_video.models.architecture import architectures
from lcm_video.models.temporal import TemporalLayer
from lcm_video.noise import frame_noise
from lcm_video.samplers import Betas

# What they say while loading would bury the figures.
diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()

Tokens = torch.Tensor
"""Encodings (frames, tokens, features)."""


@dataclass
class Peer:
    """diffusers' pipeline, stage by stage."""

    pipe: AnimateDiffPipeline

    @torch.no_grad()
    def denoise(self, tokens: Tokens, start: torch.Tensor, *, steps: int, seed: int = 0) -> torch.Tensor:
        """The clean latents (frames, channels, height, width) at guidance 1, with our noise at every step."""
        self._show(tokens)
        frames, _, height, width = start.shape
        noise = frame_noise(seed, start.shape[1:])
        drawn = iter(range(1, steps + 1))

        def ours(shape: Sequence[int], **_: Any) -> torch.Tensor:
            return rearrange(noise(next(drawn), range(frames)), "frames c h w -> 1 c frames h w").to(start)

        before, lcm.randn_tensor = lcm.randn_tensor, ours
        try:
            out = self.pipe(
                prompt_embeds=tokens[:1], latents=rearrange(start, "frames c h w -> 1 c frames h w"), num_frames=frames,
                height=8 * height, width=8 * width, num_inference_steps=steps, guidance_scale=1.0, output_type="latent",
            )  # fmt: skip
        finally:
            lcm.randn_tensor = before
        return rearrange(out.frames[0], "c frames h w -> frames c h w")

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, *, batch: int = 16) -> np.ndarray:
        """Frames (frames, rows, columns, rgb) in 0..255, by the pipeline's own steps; ``batch`` is its default."""
        video = self.pipe.decode_latents(rearrange(latents, "frames c h w -> 1 c frames h w"), batch)
        pictures = self.pipe.video_processor.postprocess_video(video=video, output_type="np")[0]
        return (pictures * 255).round().astype(np.uint8)

    def normalise_each_frame(self) -> None:
        """Lets the peer's temporal layers normalise each frame alone, as the motion modules were trained."""
        for module in self.pipe.unet.modules():
            if isinstance(module, AnimateDiffTransformer3D):
                module.norm.forward = MethodType(_by_frame, module.norm)

    def _show(self, tokens: Tokens) -> None:
        """Hands the encoding of each frame to the UNet, whatever the pipeline hands it."""
        plain = type(self.pipe.unet).forward

        def forward(
            unet: UNetMotionModel, sample: Any, timestep: Any, encoder_hidden_states: Any, **options: Any
        ) -> Any:
            return plain(unet, sample, timestep, encoder_hidden_states=tokens.to(sample.dtype), **options)

        self.pipe.unet.forward = MethodType(forward, self.pipe.unet)


def peer_of(unet: UNet2DConditionModel, vae: AutoencoderKL, betas: Betas) -> Peer:
    """The peer with copies of the weights of ``unet``, which holds our temporal layers, and of ``vae``."""
    layers = {site: layers[index].temporal for site, layers, index in motion.sites(unet)}
    motion.eject(unet)
    own = UNetMotionModel.from_unet2d(unet, adapter_of(unet, layers)).to(unet.dtype).eval().requires_grad_(False)
    motion.inject(unet, layers)
    scheduler = LCMScheduler(
        beta_start=betas.start, beta_end=betas.end, beta_schedule=betas.schedule, clip_sample=False
    )
    copy = AutoencoderKL.from_config(vae.config)
    copy.load_state_dict(vae.state_dict())
    pipe = AnimateDiffPipeline(
        vae=copy.to(vae.dtype).eval().requires_grad_(False), text_encoder=None, tokenizer=None, unet=own,
        motion_adapter=None, scheduler=scheduler,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return Peer(pipe)


def adapter_of(unet: UNet2DConditionModel, layers: dict[str, TemporalLayer]) -> MotionAdapter:
    """Our temporal layers as diffusers' motion adapter."""
    first = next(iter(layers.values()))
    adapter = MotionAdapter(
        block_out_channels=tuple(unet.config.block_out_channels),
        motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=first.transformer_blocks[0].attn1.heads,
        motion_norm_num_groups=first.norm.num_groups,
        motion_max_seq_length=first.max_frames,
        use_motion_mid_block=any(site.startswith("mid_block") for site in layers),
    )
    adapter.load_state_dict(
        {
            f"{site}.{name.replace('.positions', '.pos_embed.pe')}": value[None] if "positions" in name else value
            for site, layer in layers.items()
            for name, value in layer.state_dict().items()
        }
    )
    return adapter


def full_size(dtype: torch.dtype = torch.float32) -> tuple[UNet2DConditionModel, AutoencoderKL]:
    """SD 1.5's UNet with a v2 motion module, and its VAE, at full size with random weights."""
    torch.manual_seed(0)
    sd15 = next(known for known in architectures() if known.widths == (320, 768))
    unet, vae = UNet2DConditionModel.from_config(sd15.unet), AutoencoderKL.from_config(sd15.vae)
    widths = {site: layers[index].out_channels for site, layers, index in motion.sites(unet)}
    layers = {site: TemporalLayer(width, heads=8, groups=32, max_frames=32) for site, width in widths.items()}
    for part in (unet, vae, *layers.values()):
        part.to(dtype).eval().requires_grad_(False)
    motion.inject(unet, layers)
    return unet, vae


def export(frames: Sequence[np.ndarray], path: Path, *, fps: Fraction, quality: int = 18) -> None:
    """An MP4 as people write it with PyAV: all frames at the end, libx264 at the same constant rate factor."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(quality)})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _by_frame(norm: torch.nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    flat = rearrange(x, "batch channels frames height width -> (batch frames) channels height width")
    done = torch.nn.functional.group_norm(flat, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return rearrange(
        done, "(batch frames) channels height width -> batch channels frames height width", frames=x.shape[2]
    )
