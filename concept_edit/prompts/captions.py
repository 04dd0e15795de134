"""Everyday captions in the manner of photo descriptions, for encoders that come without a corpus of their own.

They name no concept and no style of the embedded model, so what is measured there about things that nobody named is
not helped by them.
"""

from __future__ import annotations

_WHO = (
    "a man", "a woman", "two children", "an old couple", "a crowd", "a horse", "some birds", "a waiter", "a cyclist",
    "a young girl", "three friends", "a soldier", "a tall player", "an elderly woman", "a boy in a jacket", "a family",
    "two workers", "a nurse", "a musician", "a skier", "a surfer", "an elephant", "a herd of sheep", "a brown cow",
)  # fmt: skip
_DOING = (
    "walking down a street", "sitting on a bench in the park", "standing beside a red truck",
    "looking out of the window", "waiting for a train at the station", "in front of a large building",
    "near a table with plates of food", "on the beach under a blue sky", "in a kitchen with white walls",
    "crossing a bridge in the rain", "next to a wooden fence", "by the sea", "on top of a snowy hill",
    "in the middle of a green field", "under a stone arch", "at the edge of a lake", "behind a counter",
    "beside a parked motorcycle", "on a crowded bus", "along a dusty road", "in a dark room with a lamp",
    "on a wooden floor", "at a market in the old town", "with a bag and a hat",
)  # fmt: skip
_THINGS = (
    "a bowl of fruit on a table", "a vase with yellow flowers", "a train on its tracks", "a plane in the sky",
    "a boat on a lake", "a clock on a tower", "a bed with two pillows", "a plate of pasta", "a laptop on a desk",
    "mountains covered with snow", "a bridge over a river", "a glass of wine", "a spoon and a fork",
    "a cottage with a green roof", "a field of wheat", "a city at night", "a sandwich on a paper plate",
    "a bathroom with a white sink", "a yellow fire hydrant", "a stop sign at a corner", "a pile of old books",
    "a teddy bear on a chair", "a pair of black shoes", "a computer keyboard and a mouse", "a cup of coffee",
    "a green bicycle against a wall", "a church with two towers", "a waterfall in the woods", "a loaf of bread",
    "a refrigerator full of vegetables", "a castle on a cliff", "an empty parking lot", "a stack of suitcases",
    "a birthday cake with candles", "a sofa and a television", "a path through the forest", "a broken window",
    "a row of tall buildings", "a wooden door with an iron handle", "a ship in the harbour", "an old telephone",
    "a basket of eggs", "a mirror above a shelf", "a piano in an empty hall", "a violin and a sheet of music",
    "a cloud over the desert", "a pot of soup on the stove", "a statue in a fountain",
)  # fmt: skip
_VIEWS = (
    "{}", "a photo of {}", "a painting of {}", "a black and white picture of {}", "a close view of {}",
    "a blurry photograph of {}", "{}, seen from above", "an oil painting of {}", "a pencil sketch of {}",
    "{} in the morning",
)  # fmt: skip
_SHOWN = 4
"""Views that each thing is shown in."""


def plain_captions() -> list[str]:
    """Some four hundred captions: people and animals doing something, and things in several views."""
    people = [f"{who} {doing}" for i, who in enumerate(_WHO) for doing in _DOING[i % 3 :: 3]]
    shown = [_VIEWS[(i + 3 * turn) % len(_VIEWS)].format(it) for i, it in enumerate(_THINGS) for turn in range(_SHOWN)]
    return [*(_VIEWS[i % len(_VIEWS)].format(scene) for i, scene in enumerate(people)), *dict.fromkeys(shown)]
