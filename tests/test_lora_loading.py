"""LoRAs, motion LoRAs and motion modules named in a storyboard, on checkpoints of both families and real structure."""

import pytest
import torch

from lcm_video.errors import CheckpointError
from lcm_video.models import Lora, Model, Runtime, load
from lcm_video.timeline import Point

CURVE = {"0": Point(0), "-1": Point(1)}


@pytest.fixture(scope="module")
def loaded(model_files):
    """Loads a model whose files are named as people name them."""
    names = [
        "checkpoints/dreamshaper_8.safetensors",
        "checkpoints/sd_xl_base_1.0.safetensors",
        "loras/*",
        "motion_lora/*",
    ]
    modules = ["mm_sd_v15_v2.ckpt", "v3_sd15_mm.ckpt", "mm_sdxl_v10_beta.ckpt", "hsxl_temporal_layers.f16.safetensors"]
    folder = model_files(*names, *(f"motion/{name}" for name in modules))

    def made(checkpoint="dreamshaper_8", motion="", **loras):
        options = {name: lora if isinstance(lora, Lora) else Lora(lora) for name, lora in loras.items()}
        return load(Model(checkpoint=checkpoint, motion=motion, loras=options), Runtime(folders=(str(folder),)))

    return made


def drawn(parts, **strengths):
    """What the UNet predicts for two frames."""
    generator = torch.Generator().manual_seed(0)
    config = parts.unet.model.config
    encoding = {"tokens": torch.randn(2, 77, config.cross_attention_dim, generator=generator)}
    if config.addition_embed_type:
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        encoding |= {"pooled": torch.randn(2, pooled, generator=generator), "time_ids": torch.full((2, 6), 64.0)}
    encoding |= {f"lora:{name}": torch.tensor(values) for name, values in strengths.items()}
    return parts.unet(torch.randn(2, 4, 8, 8, generator=generator), 499.0, encoding, clip=2)


SD15 = {
    "lcm-lora-sdv1-5": 278, "kohya_sd15_unet_te": 264, "lycoris_loha_sd15": 192, "dora_sd15": 192,
    "diffusers_peft_sd15": 176, "diffusers_processor_sd15": 128,
}  # fmt: skip


def test_every_kind_of_lora_is_applied_whole_and_counted(loaded):
    parts = loaded(**{f"lora{number}": name for number, name in enumerate(SD15)})
    for name, count in SD15.items():
        assert f"{name}.safetensors: {count} of {count} modules applied, at 1" in parts.notes
    assert not torch.allclose(drawn(parts), drawn(loaded()), atol=1e-3)


@pytest.mark.parametrize("motion", ["animatediff-sdxl-beta", "hotshot-xl"])
def test_sdxl_takes_its_loras_and_both_of_its_motion_modules(loaded, motion):
    parts = loaded("sd_xl_base_1.0", motion, style="kohya_sdxl_ldm_names", lcm="lcm-lora-sdxl")
    assert parts.card.name == motion
    assert any(note.endswith(f"15 temporal layers, card {motion}") for note in parts.notes)
    assert "kohya_sdxl_ldm_names.safetensors: 986 of 986 modules applied, at 1" in parts.notes
    assert "lcm-lora-sdxl.safetensors: 788 of 788 modules applied, at 1" in parts.notes
    assert torch.isfinite(drawn(parts)).all()


def test_a_motion_lora_and_the_domain_adapter_are_named_beside_other_loras(loaded):
    parts = loaded(motion="animatediff-v2", zoom="v2_lora_ZoomIn", adapter=Lora("v3_sd15_adapter", 0.5))
    assert "v2_lora_ZoomIn.ckpt: 168 of 168 modules applied, at 1" in parts.notes
    assert "v3_sd15_adapter.ckpt: 128 of 128 modules applied, at 0.5" in parts.notes
    assert not torch.allclose(drawn(parts), drawn(loaded(motion="animatediff-v2")), atol=1e-4)


def test_a_motion_lora_and_a_dora_may_vary_over_time(loaded):
    """At strength 1 as merged, at 0 as if absent; the text encoders' changes follow the prompt, not the frames."""
    varying = loaded(motion="animatediff-v2", zoom=Lora("v2_lora_ZoomIn", CURVE), style=Lora("dora_sd15", CURVE))
    merged = loaded(motion="animatediff-v2", zoom="v2_lora_ZoomIn", style="dora_sd15")
    plain = loaded(motion="animatediff-v2")
    for strength, other in ((1.0, merged), (0.0, plain)):
        ours = drawn(varying, zoom=[strength] * 2, style=[strength] * 2)
        assert (ours - drawn(other)).abs().max() < 1e-3 * ours.std()
    between = drawn(varying, zoom=[0.0, 1.0], style=[1.0, 0.0])
    assert not torch.allclose(between, drawn(merged), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message", "remedy"),
    [
        ({"zoom": "v2_lora_ZoomIn"}, r"v2_lora_ZoomIn\.ckpt: it is a motion LoRA", "set model.motion"),
        ({"motion": "animatediff-v3", "zoom": "v2_lora_ZoomIn"}, "8 of its 168 modules", "animatediff-v2"),
        ({"lcm": "lcm-lora-sdxl"}, "lcm-lora-sdxl", "SD 1.5"),
        ({"checkpoint": "sd_xl_base_1.0", "lcm": "lcm-lora-sdv1-5"}, "lcm-lora-sdv1-5.* SD 1.5 LoRA", "SDXL"),
        ({"motion": "animatediff-sdxl-beta"}, "is an SDXL motion module, the checkpoint is SD 1.5", "animatediff-v3"),
        (
            {"checkpoint": "sd_xl_base_1.0", "motion": "animatediff-v3"},
            "SD 1.5 motion module, the checkpoint is SDXL",
            "beta",
        ),
        ({"lcm": "dreamshaper_8"}, "is an SD 1.5 checkpoint, not a LoRA", "model.checkpoint"),
        ({"motion": "v2_lora_ZoomIn"}, "is a motion LoRA, not a motion module", "model.loras"),
        ({"motion": "temporaldiff"}, "'temporaldiff' was not found", "huggingface.co"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_next_step(loaded, options, message, remedy):
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded(**options)
    assert remedy in caught.value.remedy
