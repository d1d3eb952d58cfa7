"""Our text transformer against transformers'."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lcm_video.prompts.clip import ACTIVATIONS, ClipSizes, ClipText

SIZES = {"vocab_size": 100, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "projection_dim": 12}
IDS = torch.randint(0, 100, (2, 77), generator=torch.Generator().manual_seed(0))


def both(*, projects=False, heads=4, dtype=torch.float32, **more):
    """Theirs and ours, with the same random weights."""
    torch.manual_seed(0)
    config = {**SIZES, "num_attention_heads": heads, **more}
    theirs = (CLIPTextModelWithProjection if projects else CLIPTextModel)(CLIPTextConfig(**config, eos_token_id=99))
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    ours = ClipText(ClipSizes.of({**config, "bos_token_id": 0, "architectures": ["any"]}), projects=projects)
    ours.load_state_dict({name.removeprefix("text_model."): weight for name, weight in theirs.state_dict().items()})
    return theirs.to(dtype).eval(), ours.to(dtype).eval()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("tokens", [1, 5, 77])
@torch.no_grad()
def test_every_layer_gives_what_transformers_gives(activation, heads, tokens):
    theirs, ours = both(heads=heads, hidden_act=activation)
    expected = theirs(IDS[:, :tokens], output_hidden_states=True)
    found = ours(IDS[:, :tokens])
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert len(found.hidden_states) == 4
    for own, other in zip(found.hidden_states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_half_precision_is_as_near_as_its_rounding():
    theirs, ours = both(dtype=torch.bfloat16)
    expected = theirs(IDS).last_hidden_state
    assert ours(IDS).last_hidden_state.dtype == torch.bfloat16
    torch.testing.assert_close(ours(IDS).last_hidden_state, expected, atol=0.1, rtol=0.05)


@torch.no_grad()
def test_a_second_encoder_projects_as_in_transformers():
    theirs, ours = both(projects=True)
    ids = torch.cat([IDS[:, :9] % 99, torch.full((2, 1), 99)], dim=1)
    pooled = ours.text_projection(ours(ids).last_hidden_state[:, -1])
    torch.testing.assert_close(pooled, theirs(ids).text_embeds, atol=1e-5, rtol=1e-5)
    assert not hasattr(both()[1], "text_projection")


def test_no_word_sees_those_after_it():
    _, ours = both()
    changed = IDS.clone()
    changed[:, 40:] = 7
    first, second = (ours(ids).last_hidden_state for ids in (IDS, changed))
    torch.testing.assert_close(first[:, :40], second[:, :40])
    assert not torch.allclose(first[:, 40:], second[:, 40:])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"hidden_act": "swish"}, "hidden_act 'swish' is none of quick_gelu, gelu"),
        ({"hidden_size": 10, "num_attention_heads": 3}, "10 features cannot be shared by 3 heads"),
        ({"num_attention_heads": 0}, "cannot be shared by 0 heads"),
    ],
)
def test_sizes_that_make_no_model_are_refused(config, reason):
    with pytest.raises(ValueError, match=reason):
        ClipSizes.of(config)


def test_the_defaults_are_those_of_transformers():
    ours, theirs = ClipSizes(), CLIPTextConfig()
    assert all(getattr(theirs, name) == getattr(ours, name) for name in ClipSizes.__dataclass_fields__)
