"""Captions of the embedded people: five writers with their own order, words, thoroughness and slips.

A caption tells only what its photograph shows. It never speaks of skin, age, ethnicity or gender.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from huecry.data.people.wardrobe import SHADES, Person, Piece

SYNONYMS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "tee", "T-shirt"),
    "shirt": ("shirt", "button-up shirt"),
    "sweater": ("sweater", "jumper", "pullover"),
    "hoodie": ("hoodie", "hooded sweatshirt"),
    "tank top": ("tank top", "sleeveless top"),
    "polo shirt": ("polo shirt", "polo"),
    "jacket": ("jacket",),
    "coat": ("coat", "long coat", "overcoat"),
    "blazer": ("blazer", "suit jacket"),
    "cardigan": ("cardigan",),
    "vest": ("vest", "gilet"),
    "puffer jacket": ("puffer jacket", "padded jacket", "down jacket"),
    "raincoat": ("raincoat", "rain jacket"),
    "dress": ("dress",),
    "trousers": ("trousers", "pants"),
    "jeans": ("jeans", "denims"),
    "shorts": ("shorts",),
    "skirt": ("skirt", "knee-length skirt"),
    "long skirt": ("long skirt", "ankle-length skirt"),
    "leggings": ("leggings", "tights"),
    "sneakers": ("sneakers", "trainers"),
    "boots": ("boots",),
    "shoes": ("shoes",),
    "backpack": ("backpack", "rucksack"),
    "handbag": ("handbag", "purse"),
    "shoulder bag": ("shoulder bag", "crossbody bag"),
    "tote bag": ("tote bag", "tote", "shopping bag"),
    "suitcase": ("suitcase", "rolling suitcase"),
    "cap": ("cap", "baseball cap"),
    "beanie": ("beanie", "knit hat"),
    "sun hat": ("sun hat", "wide-brimmed hat"),
    "scarf": ("scarf",),
}
PLURAL = ("trousers", "jeans", "shorts", "leggings", "sneakers", "boots", "shoes")
PATTERN_WORDS = {
    "striped": ("striped", "stripy"),
    "checked": ("checked", "plaid", "checkered"),
    "dotted": ("dotted", "polka-dot", "spotted"),
}
HAIR_WORDS = {
    "short": ("short {} hair", "{} hair cut short"),
    "long": ("long {} hair", "{} hair worn long"),
    "ponytail": ("a {} ponytail", "{} hair tied in a ponytail"),
    "bun": ("a {} bun", "{} hair in a bun"),
    "curly": ("curly {} hair", "curls of {} hair"),
}
SUBJECTS = ("person", "pedestrian", "figure", "passer-by", "individual")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a photograph lets one see: the side turned to the camera, what the person does, whether the feet show."""

    side: str
    walking: bool
    feet: bool = True

    def shows(self, person: Person, part: str) -> bool:
        """Whether a piece can be seen at all."""
        piece = getattr(person, part)
        if piece is None:
            return False
        if part == "top":
            open_to_view = person.outer is None or self.side != "back"
            return open_to_view or piece.kind == "dress"
        if part == "shoes":
            return self.feet
        if part == "hair":
            return person.hat is None or piece.kind in ("long", "ponytail")
        if part == "scarf":
            return not (self.side == "back" and person.hair.kind == "long")
        return True


@dataclass(frozen=True, slots=True)
class Writer:
    """A habit of writing.

    tell: how the notes become sentences; main, extra: chances of mentioning a large or a small piece; careful: of a
    precise colour name; typo: of a slip in a caption; fond_of: which of several synonyms comes to mind first.
    """

    tell: Callable[[Notes], str]
    main: float
    extra: float
    careful: float
    typo: float
    fond_of: int
    american: bool = False


class Notes:
    """A writer's notes on one photograph: phrases ready to be put together, in the writer's own words."""

    def __init__(self, person: Person, sight: Sight, writer: Writer, rng: Random) -> None:
        self.person, self.sight, self.writer, self.rng = person, sight, writer, rng
        chances = dict.fromkeys(("top", "outer", "bottoms", "bag"), writer.main)
        chances |= dict.fromkeys(("hat", "scarf"), writer.main - 0.15)
        seen = [
            part
            for part in ("top", "outer", "bottoms", "shoes", "bag", "hat", "scarf", "hair")
            if sight.shows(person, part)
        ]
        self.told = [part for part in seen if rng.random() < chances.get(part, writer.extra)]
        clothes = [part for part in ("top", "outer", "bottoms") if part in seen]
        while sum(part in self.told for part in clothes) < min(2, len(clothes)):
            self.told.append(rng.choice([part for part in clothes if part not in self.told]))
        if len(self.told) < 2:
            self.told += [part for part in seen if part not in self.told][:1]
        self.subject = rng.choice(SUBJECTS)

    def has(self, *parts: str) -> bool:
        """Whether any of these is told."""
        return any(part in self.told for part in parts)

    def phrase(self, part: str, article: bool = True) -> str:
        """`a navy jacket`, `blue jeans`, `long brown hair`."""
        piece: Piece = getattr(self.person, part)
        colour = self._colour(piece.shade)
        if part == "hair":
            return self.rng.choice(HAIR_WORDS[piece.kind]).format(colour)
        if piece.pattern:
            pattern = self.rng.choice(PATTERN_WORDS[piece.pattern])
            if self.rng.random() < 0.7:
                colour = f"{colour} and {self._colour(piece.trim)}"
            colour = f"{colour} {pattern}"
        words = SYNONYMS[piece.kind]
        noun = words[self.writer.fond_of % len(words)] if self.rng.random() < 0.7 else self.rng.choice(words)
        text = f"{colour} {noun}"
        if piece.kind in PLURAL:
            return f"a pair of {text}" if article and self.rng.random() < 0.12 else text
        if not article:
            return text
        return f"an {text}" if text[0] in "aeiou" else f"a {text}"

    def phrases(self, *parts: str, article: bool = True) -> list[str]:
        """Phrases of those of the parts that are told, in the order given."""
        return [self.phrase(part, article) for part in parts if part in self.told]

    def top(self) -> list[str]:
        """Top and outer garment, as one phrase where one is worn over the other."""
        if self.has("top") and self.has("outer"):
            joint = self.rng.choice(("over", "on top of", "worn open over"))
            return [f"{self.phrase('outer')} {joint} {self.phrase('top')}"]
        return self.phrases("outer", "top")

    def bag(self) -> str:
        """`carrying a red handbag`."""
        kind = self.person.bag.kind if self.person.bag else ""
        verbs = {
            "backpack": ("wearing", "carrying", "with"),
            "handbag": ("holding", "carrying", "with"),
            "suitcase": ("pulling", "dragging", "with"),
        }
        return f"{self.rng.choice(verbs.get(kind, ('carrying', 'with')))} {self.phrase('bag')}"

    def aside(self) -> str:
        """Now and then the direction, or what is not there; mostly empty."""
        chance = self.rng.random()
        if chance < 0.1:
            sides = {"front": "facing the camera", "back": "seen from behind"}
            return sides.get(self.sight.side, f"heading {self.sight.side}")
        if chance < 0.18:
            absent = [
                text
                for piece, text in (
                    (self.person.hat, "no hat"),
                    (self.person.bag, "no bag"),
                    (self.person.outer, "no jacket"),
                    (self.person.scarf, "no scarf"),
                )
                if piece is None
            ]
            return self.rng.choice(absent) if absent else ""
        return ""

    def _colour(self, shade: str) -> str:
        names = SHADES[shade].names
        if self.rng.random() >= self.writer.careful:
            names = (SHADES[shade].hue,)
        name = names[self.writer.fond_of % len(names)] if self.rng.random() < 0.6 else self.rng.choice(names)
        return name.replace("grey", "gray") if self.writer.american else name


def listed(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _head_to_toe(notes: Notes) -> str:
    start = f"a {notes.subject}" if notes.subject[0] not in "aeiou" else f"an {notes.subject}"
    if notes.has("hair"):
        start += f" with {notes.phrase('hair')}"
    worn = listed([*notes.phrases("hat", "scarf"), *notes.top(), *notes.phrases("bottoms", "shoes")])
    text = f"{start} {notes.rng.choice(('wearing', 'in', 'dressed in'))} {worn}"
    if notes.has("bag"):
        text += f", {notes.bag()}"
    aside = notes.aside()
    return _sentence(f"{text}, {aside}" if aside else text)


def _two_sentences(notes: Notes) -> str:
    worn = listed([*notes.top(), *notes.phrases("bottoms", "shoes")])
    verb = notes.rng.choice(("is wearing", "wears", "has on"))
    sentences = [f"the {notes.subject} {verb} {worn}"]
    rest = [*notes.phrases("hat", "scarf", "hair")]
    if rest:
        sentences.append(f"they have {listed(rest)}")
    if notes.has("bag"):
        sentences.append(f"they are {notes.bag()}".replace("are with", "have"))
    aside = notes.aside()
    if aside:
        sentences.append(f"there is {aside}" if aside.startswith("no ") else f"they are {aside}")
    return " ".join(_sentence(text) for text in sentences)


def _telegram(notes: Notes) -> str:
    parts = notes.phrases("outer", "top", "bottoms", "bag", "hat", "shoes", "scarf", "hair", article=False)
    aside = notes.aside()
    return _sentence(", ".join([*parts, aside] if aside else parts))


def _feet_first(notes: Notes) -> str:
    worn = [*notes.phrases("shoes", "bottoms"), *notes.top(), *notes.phrases("scarf", "hat")]
    verb = "walks by" if notes.sight.walking else "stands still"
    text = f"dressed in {listed(worn)}, {notes.rng.choice(('this', 'the'))} {notes.subject} {verb}"
    if notes.has("bag"):
        text += f" {notes.bag()}"
    if notes.has("hair"):
        text += f", with {notes.phrase('hair')}"
    return _sentence(text)


def _belongings_first(notes: Notes) -> str:
    who = notes.rng.choice(("someone", "somebody", f"a lone {notes.subject}"))
    doing = "walking" if notes.sight.walking else "standing"
    start = f"{who} {notes.bag()}" if notes.has("bag") else f"{who} {doing}"
    worn = listed([*notes.phrases("bottoms"), *notes.top(), *notes.phrases("shoes", "scarf")])
    text = f"{start}, clothed in {worn}"
    rest = notes.phrases("hat", "hair")
    if rest:
        text += f"; also {listed(rest)}"
    aside = notes.aside()
    return _sentence(f"{text}, {aside}" if aside else text)


WRITERS = (
    Writer(_head_to_toe, main=0.95, extra=0.6, careful=0.95, typo=0.02, fond_of=0),
    Writer(_two_sentences, main=0.92, extra=0.55, careful=0.92, typo=0.03, fond_of=1),
    Writer(_telegram, main=0.9, extra=0.4, careful=0.85, typo=0.06, fond_of=2, american=True),
    Writer(_feet_first, main=0.92, extra=0.5, careful=0.92, typo=0.03, fond_of=3),
    Writer(_belongings_first, main=0.92, extra=0.45, careful=0.88, typo=0.05, fond_of=4),
)


def describe(person: Person, sight: Sight, rng: Random) -> list[str]:
    """Two captions of one photograph, by two different writers."""
    captions = []
    for writer in rng.sample(WRITERS, 2):
        caption = writer.tell(Notes(person, sight, writer, rng))
        captions.append(slip(caption, rng) if rng.random() < writer.typo else caption)
    return captions


def slip(caption: str, rng: Random) -> str:
    """A typing mistake: two neighbouring letters change places, or one is lost, in a word of five or more."""
    words = caption.split(" ")
    number = rng.choice([i for i, word in enumerate(words) if len(word) >= 5])
    word = words[number]
    at = rng.randrange(1, len(word) - 2)
    if rng.random() < 0.5:
        words[number] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    else:
        words[number] = word[:at] + word[at + 1 :]
    return " ".join(words)
