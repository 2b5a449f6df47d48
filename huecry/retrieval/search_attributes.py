"""A sentence from attributes: `upper=red`, `bag=backpack` -> "a person wearing a red top and carrying a backpack".

The words are those of the colour lexicon (`huecry.data.lexicon`), which captions are read with. A value is what a
caption would say: a colour, a garment or thing of its place, or both, with adjectives: `red`, `jeans`, `light blue
striped shirt`. Age, origin and skin are no attributes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from huecry.data.captions import HUES, Reading
from huecry.data.lexicon import ADJECTIVES, MODIFIERS, NOUNS
from huecry.errors import UserError

COLOURS = tuple(hue for hue in HUES if hue not in ("multi", "blond"))


@dataclass(frozen=True)
class Attribute:
    """One place on a person.

    kind: its tag and zone in the lexicon. noun: what a colour alone is said of; None where a thing must be named.
    verb: how it is told.
    """

    kind: tuple[str, str]
    noun: str | None
    verb: str = "wearing"

    @property
    def nouns(self) -> list[str]:
        """The things of this place, by their names in the lexicon."""
        return sorted({noun.head for noun in NOUNS.values() if (noun.tag, noun.zone) == self.kind})


ATTRIBUTES: dict[str, Attribute] = {
    "hair": Attribute(("hair", "hair"), "hair", "with"),
    "head": Attribute(("accessory", "head"), "hat"),
    "neck": Attribute(("accessory", "neck"), "scarf"),
    "upper": Attribute(("garment", "upper"), "top"),
    "lower": Attribute(("garment", "lower"), "trousers"),
    "whole": Attribute(("garment", "whole"), "outfit"),
    "feet": Attribute(("garment", "feet"), "shoes"),
    "hands": Attribute(("accessory", "hands"), "gloves"),
    "other": Attribute(("accessory", ""), None),
    "bag": Attribute(("accessory", "carried"), "bag", "carrying"),
}


def colours_of(key: str) -> tuple[str, ...]:
    """The colours that an attribute may have."""
    return (*COLOURS, "blond") if key == "hair" else COLOURS


def compose(attributes: Iterable[str]) -> str:
    """The sentence of some `key=value`; a key may come twice.

    Raises UserError for a key or value that is not known, with those that are.
    """
    told: dict[str, list[str]] = {"with": [], "wearing": [], "carrying": []}
    for given in attributes:
        key, equals, value = given.partition("=")
        if not equals:
            raise UserError(f"--attr {given}: not of the form key=value, for example upper=red")
        if key not in ATTRIBUTES:
            near = difflib.get_close_matches(key, ATTRIBUTES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"--attr {given}: no attribute is called {key}; {hint}known: {', '.join(ATTRIBUTES)}")
        told[ATTRIBUTES[key].verb].append(_phrase(key, value))
    return "a person " + _listed([f"{verb} {_listed(phrases)}" for verb, phrases in told.items() if phrases])


def random_sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences about coloured clothes and things, of two to four attributes each."""
    lots = Random(seed)
    keys = [key for key, attribute in ATTRIBUTES.items() if attribute.noun is not None]

    def value(key: str) -> str:
        return f"{lots.choice(COLOURS)} {lots.choice(ATTRIBUTES[key].nouns)}"

    return [compose(f"{key}={value(key)}" for key in lots.sample(keys, lots.randint(2, 4))) for _ in range(count)]


def _phrase(key: str, value: str) -> str:
    """What a caption would say of a value: with an article, and with a thing where only its looks were given."""
    attribute, reading = ATTRIBUTES[key], Reading(value)
    texts = [word.text for word in reading.words]
    thing = next((start for start in range(len(texts)) if _is_thing("".join(texts[start:]), attribute)), len(texts))
    bare = re.sub(r"[\s-]", "", value).isalpha()
    if not bare or not texts or not _are_looks(reading, thing) or (thing == len(texts) and attribute.noun is None):
        raise UserError(
            f"--attr {key}={value}: not in the vocabulary; colours: {', '.join(colours_of(key))}; "
            f"things: {', '.join(attribute.nouns)}; "
            "before them adjectives such as dark, striped, long, leather"
        )
    said = value.lower().strip() if thing < len(texts) else f"{value.lower().strip()} {attribute.noun}"
    if said.endswith("hair") or re.search(r"[^s]s$", said):  # what comes in pairs is in the plural
        return said
    return f"{'an' if re.match(r'[aeiou](?!ni)', said) else 'a'} {said}"


def _is_thing(key: str, attribute: Attribute) -> bool:
    noun = NOUNS.get(key)
    return noun is not None and (noun.tag, noun.zone) == attribute.kind


def _are_looks(reading: Reading, end: int) -> bool:
    """Whether the words before `end` are colours and adjectives."""
    index = 0
    while index < end:
        adjective = reading.look_up(index, ADJECTIVES)
        if index in reading.owner:
            index = reading.colours[reading.owner[index]][1] + 1
        elif adjective is not None:
            index = adjective[0] + 1
        elif reading.words[index].text in (*MODIFIERS, "and"):
            index += 1
        else:
            return False
    return index == end


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
