"""What the values of a node are called, where a workflow lists them by position only.

One line for each node type, ``~`` for a space in its name: its values in the order in which ComfyUI's screen shows
them. A name with a star is a seed, which ComfyUI follows with what becomes of it after each run (fixed, randomize …).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TABLE = """
CheckpointLoader                     config_name ckpt_name
CheckpointLoaderSimple               ckpt_name
CheckpointLoaderSimpleWithNoiseSelect ckpt_name beta_schedule use_custom_scale_factor scale_factor
UNETLoader                           unet_name weight_dtype
VAELoader                            vae_name
CLIPLoader                           clip_name type device
DualCLIPLoader                       clip_name1 clip_name2 type device
LoraLoader                           lora_name strength_model strength_clip
LoraLoaderModelOnly                  lora_name strength_model
LoraLoader|pysssss                   lora_name strength_model strength_clip
Load~Lora                            lora_name strength_model strength_clip
CR~LoRA~Stack                        switch_1 lora_name_1 model_weight_1 clip_weight_1 switch_2 lora_name_2 model_weight_2 clip_weight_2 switch_3 lora_name_3 model_weight_3 clip_weight_3
CLIPSetLastLayer                     stop_at_clip_layer
CLIPTextEncode                       text
BNK_CLIPTextEncodeAdvanced           text token_normalization weight_interpretation
CLIPTextEncodeSDXL                   width height crop_w crop_h target_width target_height text_g text_l
ModelSamplingDiscrete                sampling zsnr
FreeU                                b1 b2 s1 s2
FreeU_V2                             b1 b2 s1 s2
KSampler                             seed* steps cfg sampler_name scheduler denoise
KSamplerAdvanced                     add_noise noise_seed* steps cfg sampler_name scheduler start_at_step end_at_step return_with_leftover_noise
KSampler~(Efficient)                 seed* steps cfg sampler_name scheduler denoise preview_method vae_decode
AnimateDiffSampler                   inject_method frame_number seed* steps cfg sampler_name scheduler denoise
SamplerCustom                        add_noise noise_seed* cfg
KSamplerSelect                       sampler_name
BasicScheduler                       scheduler steps denoise
LCMScheduler                         steps
SDTurboScheduler                     steps denoise
RandomNoise                          noise_seed*
CFGGuider                            cfg
EmptyLatentImage                     width height batch_size
ADE_EmptyLatentImageLarge            width height batch_size
RepeatLatentBatch                    amount
VHS_DuplicateLatents                 multiply_by
VAEEncodeForInpaint                  grow_mask_by
LatentUpscale                        upscale_method width height crop
LatentUpscaleBy                      upscale_method scale_by
ImageScale                           upscale_method width height crop
ImageScaleBy                         upscale_method scale_by
LoadImage                            image upload
SaveImage                            filename_prefix
SaveAnimatedWEBP                     filename_prefix fps lossless quality method
SaveAnimatedPNG                      filename_prefix fps compress_level
CreateVideo                          fps
SaveVideo                            filename_prefix format codec
SaveWEBM                             filename_prefix codec fps crf
VHS_VideoCombine                     frame_rate loop_count filename_prefix format pingpong save_output
ADE_AnimateDiffCombine               frame_rate loop_count filename_prefix format pingpong save_image
AnimateDiffCombine                   frame_rate loop_count save_image filename_prefix format pingpong
VHS_LoadVideo                        video force_rate custom_width custom_height frame_load_cap skip_first_frames select_every_nth format
VHS_LoadVideoPath                    video force_rate custom_width custom_height frame_load_cap skip_first_frames select_every_nth format
VHS_LoadImages                       directory image_load_cap skip_first_images select_every_nth
VHS_LoadImagesPath                   directory image_load_cap skip_first_images select_every_nth
ADE_AnimateDiffLoaderWithContext     model_name beta_schedule motion_scale apply_v2_models_properly
ADE_AnimateDiffLoaderGen1            model_name beta_schedule
AnimateDiffLoaderV1                  model_name unlimited_area_hack beta_schedule
ADE_AnimateDiffLoaderV1Advanced      model_name unlimited_area_hack context_length context_stride context_overlap context_schedule closed_loop beta_schedule
ADE_UseEvolvedSampling               beta_schedule
ADE_LoadAnimateDiffModel             model_name
ADE_ApplyAnimateDiffModel            start_percent end_percent
ADE_AnimateDiffLoRALoader            name strength
AnimateDiffModuleLoader              model_name
AnimateDiffLoraLoader                lora_name alpha
AnimateDiffSlidingWindowOptions      context_length context_stride context_overlap context_schedule closed_loop
ADE_AnimateDiffUniformContextOptions context_length context_stride context_overlap context_schedule closed_loop fuse_method use_on_equal_length start_percent guarantee_steps
ADE_LoopedUniformContextOptions      context_length context_stride context_overlap closed_loop fuse_method use_on_equal_length start_percent guarantee_steps
ADE_StandardUniformContextOptions    context_length context_stride context_overlap fuse_method use_on_equal_length start_percent guarantee_steps
ADE_StandardStaticContextOptions     context_length context_overlap fuse_method use_on_equal_length start_percent guarantee_steps
ADE_BatchedContextOptions            context_length start_percent guarantee_steps
ADE_AnimateDiffSamplingSettings      batch_offset noise_type seed_gen seed_offset adapt_denoise_steps
ADE_MultivalDynamic                  float_val
ADE_PromptScheduling                 prompts prepend_text append_text print_schedule max_length tensor_interp
ADE_PromptSchedulingLatents          prompts prepend_text append_text print_schedule tensor_interp
ADE_ValueScheduling                  values print_schedule max_length
ADE_ValueSchedulingLatents           values print_schedule
ADE_ValuesReplace                    value_key
ValueSchedule                        text max_frames current_frame print_output
BatchValueSchedule                   text max_frames print_output
BatchValueScheduleLatentInput        text print_output
"""  # noqa: E501 (one line for each node type)

NAMES = {words[0].replace("~", " "): tuple(words[1:]) for words in map(str.split, TABLE.strip().splitlines())}

AFTER_RUN = ("fixed", "randomize", "increment", "decrement")
"""What ComfyUI does with a seed after each run."""

SCHEDULED = ("BatchPromptSchedule", "BatchPromptScheduleLatentInput", "PromptSchedule")
"""FizzNodes' prompt schedules, whose values changed places with almost every release."""


def named(kind: str, values: Any, widget_inputs: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a node by name; what has no name gets its place in the list.

    ``widget_inputs`` are the names that newer files give beside the list; they help where a type is not in TABLE.
    """
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    if not isinstance(values, list):
        return {}
    if kind in SCHEDULED:
        return dict(_schedule(values))
    names = NAMES.get(kind, ())
    if not names and len(widget_inputs) == len([value for value in values if value not in AFTER_RUN]):
        names = tuple(f"{name}*" if "seed" in name else name for name in widget_inputs)
    return dict(_paired(names, values))


def _paired(names: Sequence[str], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yields names with values, skipping what follows a seed."""
    place = 0
    for name in names:
        if place >= len(values):
            return
        yield name.rstrip("*"), values[place]
        place += 1
        if name.endswith("*") and place < len(values) and values[place] in AFTER_RUN:
            place += 1
    for left, value in enumerate(values[place:], place):
        if value not in ("", None):
            yield str(left), value


def _schedule(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yields a schedule's values by what they look like: text first, then a length, a switch, two texts, numbers."""
    texts = iter(("text", "pre_text", "app_text"))
    numbers: list[Any] = []
    for value in values:
        if isinstance(value, bool):
            yield "print_output", value
        elif isinstance(value, str):
            if name := next(texts, ""):
                yield name, value
        elif isinstance(value, int | float):
            numbers.append(value)
    second = values[1] if len(values) > 1 else None  # text and length stand first, or the text alone
    if isinstance(second, int | float) and not isinstance(second, bool):
        yield "max_frames", numbers.pop(0)
    weights = ("pw_a", "pw_b", "pw_c", "pw_d")
    names = weights if len(numbers) == 4 else ("start_frame", "end_frame", *weights)
    yield from zip(names, numbers, strict=False)
