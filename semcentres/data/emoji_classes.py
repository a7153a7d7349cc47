"""Which emoji are classes, what they are called, and the tree that they form.

A class is an emoji of the categories animals, food, travel, activities and objects, or a part of
the body, that every vendor draws. Left out are faces, people, flags and symbols, and the clock
faces that differ by the hour alone. What is left comes in no gender, and of the few with skin tones
(an ear, a leg) only the plain picture is taken.
"""

import re
from collections.abc import Mapping, Sequence

CATEGORIES = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
SUBCATEGORIES = ("body-parts",)
ROOT = "emoji"
# Unicode's names say "black" for filled and "white" for outlined, and some name a custom rather
# than the thing that is drawn.
RENAMED = {
    "balance scale": "pair of scales",
    "basketball and hoop": "basketball",
    "billiards": "billiard ball",
    "black club suit": "club suit of cards",
    "black diamond suit": "diamond suit of cards",
    "black heart suit": "heart suit of cards",
    "black nib": "pen nib",
    "black scissors": "scissors",
    "black spade suit": "spade suit of cards",
    "black sun with rays": "sun with rays",
    "black telephone": "telephone",
    "cooking": "fried egg in a pan",
    "direct hit": "dartboard",
    "electric torch": "flashlight",
    "flag in hole": "golf hole with flag",
    "high voltage sign": "lightning bolt",
    "hocho": "kitchen knife",
    "left-pointing magnifying glass": "magnifying glass tilted left",
    "lock": "padlock",
    "moyai": "stone statue of a head",
    "octagonal sign": "stop sign",
    "performing arts": "theatre masks",
    "personal computer": "laptop computer",
    "pick": "pickaxe",
    "pistol": "water pistol",
    "playing card black joker": "joker playing card",
    "police cars revolving light": "police car light",
    "pushpin": "push pin",
    "right-pointing magnifying glass": "magnifying glass tilted right",
    "silhouette of japan": "map of japan",
    "smoking": "cigarette",
    "steaming bowl": "bowl of noodles",
    "white medium star": "star",
}


def is_class(entry: Mapping[str, str]) -> bool:
    """Return whether an entry of the catalogue shows a thing."""
    thing = entry["category"] in CATEGORIES or entry["subcategory"] in SUBCATEGORIES
    return thing and not entry["name"].startswith("CLOCK FACE")


def class_name(unicode_name: str) -> str:
    """Return a Unicode name in plain words.

    >>> class_name("FULL MOON SYMBOL"), class_name("WOMANS HAT"), class_name("BLACK SCISSORS")
    ('full moon', "woman's hat", 'scissors')
    """
    name = unicode_name.lower().replace("’", "'").removesuffix(" symbol")
    name = re.sub(r"\b(wo)?mans\b", lambda found: f"{found[0][:-1]}'s", name)
    return RENAMED.get(name, name)


def hierarchy(names: Sequence[str], groups: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the edges child -> parent: name, category/subcategory, category, root.

    A subcategory keeps its category's name, since some are called like a class (hotel, lock).
    """
    edges: dict[str, str] = {}
    for name, (category, subcategory) in zip(names, groups, strict=True):
        below = f"{category}/{subcategory}"
        edges |= {name: below, below: category, category: ROOT}
    return edges
