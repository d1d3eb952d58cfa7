"""Where and how a model runs: device, precision, kernels; and what is told when it does not fit."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from lcm_video.errors import CheckpointError, ResourceError
from lcm_video.models import Lora, Model, Runtime, load, memory, needs, placing
from lcm_video.models.kernels import Kernels
from lcm_video.models.ladder import Notes
from lcm_video.models.needs import smaller_size, windows_at_once
from lcm_video.models.placing import Place, bfloat16_unit, device_for
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SMALL, SD15 = 5_000_000, 860_000_000


@pytest.mark.parametrize(
    ("device", "asked", "unit", "weights", "dtype"),
    [
        (CPU, "auto", "AVX512-BF16", SD15, torch.bfloat16),
        (CPU, "auto", "AMX-BF16", SD15, torch.bfloat16),
        (CPU, "auto", "", SD15, torch.float32),
        (CPU, "auto", "AVX512-BF16", SMALL, torch.float32),
        (GPU, "auto", "AVX512-BF16", SMALL, torch.float16),
        (GPU, "auto", "", SD15, torch.float16),
        (CPU, "float16", "AMX-BF16", SD15, torch.float16),
        (GPU, "float32", "", SD15, torch.float32),
    ],
)
def test_precision_is_what_is_asked_for_else_what_suits_device_and_size(
    device, asked, unit, weights, dtype, monkeypatch
):
    monkeypatch.setattr(placing, "bfloat16_unit", lambda: unit)
    found = Place(device, asked).precision(weights)
    assert found.dtype == dtype
    assert (unit in found.note and "bfloat16" in found.note) if dtype == torch.bfloat16 else found.note == ""


def test_what_a_cpu_can_do_is_asked_of_torch_however_old(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True}, raising=False)
    assert bfloat16_unit() == "AMX-BF16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False})
    assert bfloat16_unit() == "AVX512-BF16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    assert bfloat16_unit() == ""
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert bfloat16_unit() == "AVX512-BF16"
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert bfloat16_unit() == ""


def test_a_large_model_is_loaded_in_bfloat16_where_the_cpu_has_it_and_that_is_told(monkeypatch):
    monkeypatch.setattr(placing, "bfloat16_unit", lambda: "AVX512-BF16")
    monkeypatch.setattr(placing, "LARGE", 1_000_000)
    parts = load(Model(checkpoint="embedded"), Runtime(device="cpu"))
    assert parts.unet.model.dtype == parts.vae.model.dtype == torch.bfloat16
    told = "computes in bfloat16: this CPU has AVX512-BF16; runtime.dtype=float32 is finer, and slower"
    assert parts.notes[0] == told
    asked = load(Model(checkpoint="embedded"), Runtime(device="cpu", dtype="float32"))
    assert asked.unet.model.dtype == torch.float32
    assert told not in asked.notes


def test_the_doctor_tells_what_is_taken_here(monkeypatch):
    from lcm_video.cli import doctor

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(placing, "bfloat16_unit", lambda: "AMX-BF16")
    told = {finding.name: finding.told for finding in doctor.device()}
    assert told["precision"] == "bfloat16 for large models (this CPU has AMX-BF16), float32 for small ones"
    monkeypatch.setattr(placing, "bfloat16_unit", lambda: "")
    assert {finding.name: finding.told for finding in doctor.device()}["precision"] == "float32"


def test_the_embedded_model_is_drawn_in_float32_on_a_cpu(embedded_parts):
    assert embedded_parts.unet.model.dtype == torch.float32


def test_a_model_that_does_not_fit_says_how_large_it_is_and_what_would(monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "free", lambda device: int(1.5e9))
    monkeypatch.setattr(memory, "total", lambda device: int(8e9))
    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ResourceError) as caught:
        load(Model(checkpoint="embedded"), Runtime(device="cpu"))
    assert caught.value.exit_code == 5
    assert caught.value.message.startswith("the model does not fit: its ")
    assert caught.value.message.endswith("GB in float32, and 1.5 GB of 8.0 GB are free on cpu")
    assert caught.value.remedy.startswith("runtime.dtype=bfloat16 needs 0.0 GB; ")


def test_sizes_are_counted_in_the_precision_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(memory, "named", lambda device: "a GPU")
    monkeypatch.setattr(memory, "free", lambda device: int(1e9))
    monkeypatch.setattr(memory, "total", lambda device: int(2e9))
    half = placing.does_not_fit(Place(GPU, "float16"), 1_000_000_000)
    assert "its 1000 million weights need 2.0 GB in float16, and 1.0 GB of 2.0 GB are free on a GPU" in half.message
    assert half.remedy == "runtime.device=cpu uses this machine's memory; closing other programs frees some"
    whole = placing.does_not_fit(Place(GPU, "float32"), 1_000_000_000)
    assert "need 4.0 GB in float32" in whole.message
    assert whole.remedy.startswith("runtime.dtype=bfloat16 needs 2.0 GB; runtime.device=cpu")


def test_a_gpu_that_fails_while_a_model_is_loaded_is_told(monkeypatch):
    def lost(self, *args, **kwargs):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.nn.Module, "to", lost)
    with pytest.raises(ResourceError, match="the GPU stopped working: CUDA error: device-side assert"):
        load(Model(checkpoint="embedded"), Runtime(device="cpu"))


def test_other_errors_while_loading_stay_what_they_are(monkeypatch):
    def broken(self, *args, **kwargs):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(torch.nn.Module, "to", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        load(Model(checkpoint="embedded"), Runtime(device="cpu"))


def test_a_device_is_asked_for_by_torchs_names():
    assert device_for(Runtime(device="cpu")) == CPU
    assert device_for(Runtime()).type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ResourceError, match="device 'gpu' cannot be used"):
        device_for(Runtime(device="gpu"))


def test_options_are_read_from_text():
    read = TypeAdapter(Runtime).validate_python
    assert read({"window_batch": "auto", "strict": "true", "kernels": "plain", "compile": "blocks"}) == Runtime(
        window_batch=0, strict=True, kernels="plain", compile="blocks"
    )
    assert read({"window_batch": "3"}).window_batch == 3
    for wrong in ({"window_batch": "-1"}, {"window_batch": "65"}, {"kernels": "slow"}, {"compile": "yes"}):
        with pytest.raises(ValidationError):
            read(wrong)


# Kernels


class Builder:
    """Stands in for what builds fast kernels: it knows a model, or says why not."""

    def __init__(self, monkeypatch, *, knows=True):
        self.built = 0

        def build(model, *purpose):
            self.built += 1
            return (lambda latents, timestep, encoding, clip: latents + clip) if knows else "it has wings"

        monkeypatch.setattr("lcm_video.models.unet.fast_unet", build)


def call(unet, frames=4):
    x, tokens = torch.zeros(frames, 4, 8, 8), torch.zeros(frames, 5, 16)
    return unet(x, 499.0, {"tokens": tokens}, clip=2)


@pytest.mark.parametrize("choice", ["auto", "fast"])
def test_fast_kernels_run_on_a_cpu_where_they_know_the_model_and_are_built_once(unet, monkeypatch, choice):
    builder = Builder(monkeypatch)
    ours = Unet(unet, kernels=choice)
    assert builder.built == 0, "not before they are needed"
    for _ in range(2):
        assert torch.equal(call(ours), torch.full((4, 4, 8, 8), 2.0))
    assert builder.built == 1
    assert ours.notes.all == []


def test_plain_kernels_are_the_models_own(unet, monkeypatch):
    builder = Builder(monkeypatch)
    assert not torch.equal(call(Unet(unet, kernels="plain")), torch.full((4, 4, 8, 8), 2.0))
    assert builder.built == 0


def test_a_model_that_the_fast_kernels_do_not_know_runs_plainly_and_that_is_told(unet, monkeypatch):
    Builder(monkeypatch, knows=False)
    ours = Unet(unet, kernels="auto")
    assert torch.equal(call(ours), call(Unet(unet)))
    told = "UNet2DConditionModel runs with the plain kernels, which are slower: it has wings"
    assert ours.notes.all == [told]
    with pytest.raises(CheckpointError, match="there are no fast kernels for this model: it has wings") as caught:
        call(Unet(unet, kernels="fast"))
    assert caught.value.remedy == "set runtime.kernels=auto"


def test_precisions_that_they_are_not_written_for_run_plainly(unet, monkeypatch):
    builder = Builder(monkeypatch)
    ours = Unet(unet.half(), kernels="auto")
    call(ours)
    assert builder.built == 0
    assert "not on cpu in torch.float16" in ours.notes.all[0]


def test_kernels_are_built_once_however_many_threads_come_first(unet):
    built = []

    def build(model, *purpose):
        built.append(purpose)
        sleep(0.05)
        return len

    kernels = Kernels(build, "auto", Notes())
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(kernels.of, [unet] * 4)] == [len] * 4
    assert built == [()]


def test_kernels_for_another_purpose_are_built_anew_so_that_bits_do_not_depend_on_what_came_before(unet):
    built = []
    kernels = Kernels(lambda model, *purpose: built.append(purpose) or len, "auto", Notes())
    for size in ((8, 8), (8, 8), (8, 16), (8, 8)):
        kernels.of(unet, *size)
    assert built == [(8, 8), (8, 16), (8, 8)]


def clips(parts, frames=4):
    drawn = torch.Generator().manual_seed(0)
    tokens = parts.text(["a red circle", "a blue square"])["tokens"]
    return torch.randn(frames, 4, 8, 8, generator=drawn), tokens.repeat(frames // 2, 1, 1)


def test_the_real_fast_kernels_predict_what_the_plain_ones_do(embedded_parts):
    x, tokens = clips(embedded_parts)
    model = embedded_parts.unet.model
    plain, fast = (Unet(model, kernels=kernels) for kernels in ("plain", "fast"))
    for timestep in (999.0, 499.5):
        theirs = plain(x, timestep, {"tokens": tokens}, clip=2)
        ours = fast(x, timestep, {"tokens": tokens}, clip=2)
        assert (ours - theirs).norm() <= 5e-6 * theirs.norm()
    assert fast.notes.all == []


def test_the_real_fast_decoder_draws_what_the_plain_one_does(embedded_parts):
    x, _ = clips(embedded_parts)
    plain, fast = (Vae(embedded_parts.vae.model, kernels=kernels) for kernels in ("plain", "fast"))
    torch.testing.assert_close(fast.decode(x), plain.decode(x), atol=1e-4, rtol=0)
    together, alone = fast.decode(x), torch.cat([fast.decode(latent[None]) for latent in x])
    assert torch.equal(together, alone), "no batch changes a bit"


def test_a_model_whose_weights_were_taken_over_is_refused_clearly(unet):
    from lcm_video.models.fast.taking import give_up

    give_up(unet.mid_block)
    with pytest.raises(CheckpointError, match="the weights of this UNet were moved into its fast kernels") as caught:
        Unet(unet)
    assert "runtime.kernels=plain" in caught.value.remedy


def test_loading_hands_the_options_on():
    parts = load(Model(checkpoint="embedded"), Runtime(device="cpu", kernels="plain", strict=True, compile="off"))
    assert (parts.unet.kernels, parts.unet.strict, parts.unet.compile) == ("plain", True, "off")
    assert (parts.vae.kernels, parts.vae.strict) == ("plain", True)


# How much at once


def test_windows_share_a_call_where_they_are_small_and_the_device_is_large(unet, monkeypatch):
    assert windows_at_once(Unet(unet), 16, 32, 32) == 1, "on a CPU more gain nothing"
    assert windows_at_once(object(), 16, 32, 32) == 1, "a UNet of one's own"

    class Large:
        model = torch.nn.Linear(1, 1, dtype=torch.float16)

    Large.model.config = {"block_out_channels": (320,)}
    monkeypatch.setattr(needs, "device_of", lambda model: GPU)

    monkeypatch.setattr(memory, "total", lambda device: int(80e9))
    assert [windows_at_once(Large, 16, side, side) for side in (128, 64, 32, 16, 2)] == [1, 1, 4, 16, 64]
    monkeypatch.setattr(memory, "total", lambda device: int(4e9))
    assert windows_at_once(Large, 16, 32, 32) == 3, "half of the memory, at 0.64 GB a window"


def test_what_would_fit_is_smaller_and_keeps_the_shape(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: int(1e9))
    assert smaller_size(4e9, CPU, 64, 96) == "video.width=384 video.height=256"
    monkeypatch.setattr(memory, "free", lambda device: int(9e9))
    assert smaller_size(4e9, CPU, 64, 96) == "video.width=536 video.height=352", "never as large as what failed"


def test_a_lora_beside_the_weights_keeps_its_calls_whole(embedded_parts):
    """Slices would give a LoRA whose strength varies the strengths of other frames."""
    from lcm_video.models.slices import in_slices

    parts = load(Model(checkpoint="embedded", loras={"lcm": Lora("embedded_lcm_lora", called=True)}), Runtime())
    tokens = parts.text(["a red circle"])["tokens"].expand(4, -1, -1)
    encoding = {"tokens": tokens, "lora:lcm": torch.tensor([0.0, 0.3, 0.7, 1.0])}
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = Unet(parts.unet.model)
    whole = plain.predicted(x, 499.0, encoding, 4)
    with in_slices(parts.unet.model, 4):
        sliced = plain.predicted(x, 499.0, encoding, 4)
    assert torch.equal(whole, sliced)
