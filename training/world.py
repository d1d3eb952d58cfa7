"""The procedural world: what there is to see in it, and how a person would say it. Pictures are drawn in `drawing`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

RGB: TypeAlias = tuple[float, float, float]

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
COLOURS: Mapping[str, RGB] = {
    "red": (0.90, 0.10, 0.10),
    "orange": (0.98, 0.52, 0.05),
    "yellow": (0.98, 0.90, 0.10),
    "green": (0.10, 0.68, 0.18),
    "blue": (0.10, 0.22, 0.92),
    "purple": (0.55, 0.14, 0.80),
    "white": (0.97, 0.97, 0.97),
    "black": (0.05, 0.05, 0.05),
}
SIZES = ("medium", "large")
MOTIONS = ("still", "left", "right", "up", "down", "growing", "spinning")
SCENES = ("plain", "night", "ocean", "stripes")
QUALITIES = ("good", "low")

WORDS: Mapping[str, Sequence[str]] = {
    "circle": ("circle", "circle", "disc", "ball"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle", "triangle", "pyramid"),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross", "cross", "plus sign"),
    "medium": ("", "", "medium", "medium sized"),
    "large": ("large", "big", "huge"),
    "still": ("", "", "", "", "still", "not moving"),
    "left": ("moving left", "moving to the left", "sliding left", "flying to the left", "going left"),
    "right": ("moving right", "moving to the right", "sliding right", "flying to the right", "going right"),
    "up": ("moving up", "rising", "going up", "moving upwards"),
    "down": ("moving down", "falling", "going down", "moving downwards"),
    "growing": ("growing", "getting bigger", "growing larger"),
    "spinning": ("spinning", "rotating", "turning"),
    "night": ("night sky", "in the night sky", "starry night sky", "at night"),
    "ocean": ("ocean", "over the ocean", "ocean waves", "in the sea"),
    "good": ("", "", "", "", "", "", "best quality", "masterpiece, best quality", "high quality"),
    "low": ("low quality", "worst quality", "blurry", "noisy", "low quality, blurry, noisy", "worst quality, grainy"),
}
"""Ways to say each thing; an empty one leaves it unsaid, for what is ordinary."""
UNSAID = {"background": 0.05, "colour": 0.03, "low": 0.35}
"""How often captions leave out what is not ordinary. As on the web, bad pictures seldom say that they are: so a model
that is told nothing draws some, and a negative prompt has something to lead away from."""


@dataclass(frozen=True)
class Thing:
    """One object in front of a background: what a caption can tell. ``seed`` is all that it does not."""

    shape: str
    colour: str
    background: str
    size: str = "medium"
    motion: str = "still"
    scene: str = "plain"
    quality: str = "good"
    seed: int = 0


ATTRIBUTES: Mapping[str, Sequence[str]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "size": SIZES,
    "motion": MOTIONS,
    "scene": SCENES,
    "quality": QUALITIES,
}
"""The values of every attribute of a `Thing`."""


def things(count: int, random: Random, *, wide: float = 0.0, low: float = 0.0) -> list[Thing]:
    """Random things; ``wide`` is the share with a scene instead of a plain background, ``low`` the badly drawn."""
    found = []
    for _ in range(count):
        colour, background = random.sample(tuple(COLOURS), 2)
        found.append(
            Thing(
                shape=random.choice(SHAPES),
                colour=colour,
                background=background,
                size=random.choice(SIZES),
                motion=random.choices(MOTIONS, (0.40, 0.12, 0.12, 0.12, 0.12, 0.07, 0.05))[0],
                scene=random.choice(SCENES[1:]) if random.random() < wide else "plain",
                quality="low" if random.random() < low else "good",
                seed=random.randrange(2**31),
            )
        )
    return found


def caption(thing: Thing, random: Random, *, complete: bool = False) -> str:
    """One way to say what ``thing`` is; unless ``complete``, now and then something is left out."""
    said = {name: random.choice(WORDS[value]) for name, value in _spoken(thing).items()}
    colour, behind = thing.colour, _behind(thing, random)
    if not complete:
        behind = "" if random.random() < UNSAID["background"] else behind
        colour = "" if random.random() < UNSAID["colour"] else colour
        if thing.quality == "low" and random.random() < UNSAID["low"]:
            said["quality"] = ""
    article = random.choice(("a", "a", "a", "one", "the", ""))
    order = random.random()
    if order < 0.7:
        front = joined(article, said["size"], colour, said["shape"], said["motion"])
        comma = not behind.startswith("on ") or random.random() < 0.4
        text = front + (", " if comma and behind else " ") + behind
    elif order < 0.85 or not behind:
        parts = [joined(colour, said["shape"]), said["size"], said["motion"], behind]
        tail = parts[1:]
        random.shuffle(tail)
        text = ", ".join(part for part in (parts[0], *tail) if part)
    else:
        front = joined(article, said["size"], colour, said["shape"], said["motion"])
        text = f"{behind.removeprefix('on ')}{random.choice((' with ', ', '))}{front}"
    words = [text.strip(), said["quality"]]
    random.shuffle(words)
    return ", ".join(word for word in words if word)


def _spoken(thing: Thing) -> dict[str, str]:
    return {name: getattr(thing, name) for name in ("shape", "size", "motion", "quality")}


def _behind(thing: Thing, random: Random) -> str:
    """The background in words."""
    if thing.scene == "plain":
        patterns = ("on a {} background", "on a {} background", "{} background", "on {}", "on a plain {} background")
    elif thing.scene == "stripes":
        patterns = ("on a {} striped background", "{} stripes", "on {} stripes")
    else:
        patterns = WORDS[thing.scene]
    return random.choice(patterns).format(thing.background)


def joined(*words: str) -> str:
    """The words that are not empty, with spaces between; ``a orange`` becomes ``an orange``."""
    text = " ".join(word for word in words if word)
    return "an " + text[2:] if text.startswith(("a orange",)) else text


def vocabulary() -> list[str]:
    """Every text of which captions are put together, so that the tokens they use can be told."""
    joints = ["a", "an", "one", "the", "on", "background", "plain", "striped", "stripes", "with", ","]
    return [*joints, *COLOURS, *(text for texts in WORDS.values() for text in texts)]
