"""What the person of a caption does beside wearing and carrying: "is sweeping the floor", "talks on the phone".

Verbs that only people do count wherever they stand; others where a person is their subject: before a finite verb or an
auxiliary a person stands, or a thing that the person is "in", "with" or "wearing".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from huecry.data.lexicon import NOUNS

Span = tuple[int, int]


def _listed(text: str) -> list[str]:
    return text.split()


_VERBS = _listed("""
walk stroll stride strut march jog run hurry rush step stand sit lean bend crouch kneel squat hunch slouch
wait pose cross climb descend ascend enter exit leave approach ride cycle bike drive pedal skate skateboard
push pull drag talk speak chat text call listen read smoke eat drink smile laugh wave point reach clap glance
stare gaze watch face turn move head travel play scratch adjust check type sip chew yawn stretch swing dance
jump leap hop skip kick follow dig stoop sweep throw toss catch lift raise feed shop wipe wash clean fix help
hug kiss nod shake browse tie pet stop pause pass rest wander stagger limp trot sprint race shout yell sing
whistle cough sneeze lick bite scroll photograph film serve pour cook steer gesture shrug greet salute sleep
nap lie peer peek squint search arrive tug mop rake paint juggle exercise swim dive ski surf crawl roll spin
board unlock beg pray cheer cry argue whisper tilt
""")
_OPEN_ENDED = {
    "get": {"on", "off", "in", "into", "out", "up", "down"},
    "go": {"down", "up", "to", "into", "along", "across", "for", "through", "past", "by", "towards", "out"},
    "take": {"a", "an", "his", "her", "their", "pictures", "photos", "notes", "off"},
    "put": {"on", "his", "her", "a", "the"},
    "come": {"down", "up", "out", "to"},
}
"""Verbs that tell of an action before some words."""
_WEARING = {
    *("wearing", "carrying", "holding", "having", "sporting", "dressing", "showing", "matching", "covering"),
    *("rocking", "displaying", "featuring", "looking", "seeming", "appearing", "being", "lacking", "clutching"),
    *("gripping", "grasping", "hanging", "bearing", "styling", "toting", "exposing", "revealing", "containing"),
    *("including", "flowing", "fitting", "falling", "something", "nothing", "anything", "interesting", "charming"),
    *("using", "missing", "donning", "adorning", "balding", "waring", "wering", "earing", "carring", "caring"),
}
"""What "is wearing" tells of clothes and belongings, slips of it too, and words in -ing that are no verbs."""
_ALSO_THINGS = {
    *("check", "tie", "bow", "point", "step", "face", "type", "wave", "cross", "rest", "skip", "stop", "head"),
    *("turn", "roll", "spin", "race", "board", "stretch", "catch", "pull", "run", "paint", "tilt", "play"),
}
"""Verbs whose finite form is also a noun, or is done by clothes, unless one of these words follows."""
_SOMEWHERE = {"at", "to", "toward", "towards", "forward", "away", "around", "back", "up", "down", "over", "into"}
_LIES = re.compile(r"\s+(?:low|lower|high|higher|at|below|above|past|to|down|just|mid|over|across|along|from|the)\b")
"""What follows where clothes sit, reach, run or cross."""
_OF_THINGS = {
    *("sit", "reach", "run", "cross", "lie", "rest", "stretch", "turn", "point", "pull", "roll", "swing", "follow"),
    "go",
}
_ADVERBS = {"also", "then", "now", "just", "still", "currently", "slowly", "quickly", "casually", "both", "not", "seen"}
_AUXILIARIES = {"is", "are", "was", "were", "been"}
_PRONOUNS = {"he", "she", "they", "who", "someone", "somebody", "he's", "she's", "who's", "they're"}
_PEOPLE = {key for key, noun in NOUNS.items() if noun.head == "person"}
_GOVERNORS = {"in", "with", "wearing", "carrying", "holding", "having"}
_CLAUSES = {*".;:!?", *_AUXILIARIES, "has", "have", "had", "wears", "carries", "holds", "that", "which", "whose"}
_TOKEN = re.compile(r"[a-z]+(?:['’][a-z]+)?|[.,;:!?]", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“][^\"“”]{1,60}[\"”]")
_NOT_DOING = re.compile(r"[ -]*(?:sticks?|cane|apart|path|pole)\b", re.IGNORECASE)
_WITH_OBJECT = {"pushing", "pulling", "dragging", "swinging", "adjusting"}

_LOOKED = (
    "at|away|downwards?|down|upwards?|up|towards?|to(?! be)|forwards?|over|back|straight|ahead|left|right|in|into"
    "|out|off|behind|around|through|on|across|sideways|directly"
)
_PHRASES = re.compile(
    r"\b(?:"
    rf"look(?:s|ing|ed)? (?:{_LOOKED})"
    r"|using (?:an?|his|her|their|the) (?:\w+ )?(?:phone|cell|cellphone|umbrella|cane|crutch\w*|laptop|tablet)"
    r"|in motion|mid[ -]?(?:step|stride)|on the (?:phone|move|go)|taking \w+ steps?|seated|hunched"
    r"|(?:turn|bend|kneel|crouch|smil|lean)ed (?:his|her|over|down|back|against|away)"
    r"|holding (?:hands|up|out|onto|on to)"
    r"|(?:legs?|arms?) (?:is |are )?(?:crossed|folded|outstretched|extended)"
    r")\b",
    re.IGNORECASE,
)


def _progressive(verb: str) -> str:
    if verb == "lie" or verb == "tie":
        return f"{verb[0]}ying"
    if verb.endswith("e"):
        return f"{verb[:-1]}ing"
    doubled = len(verb) < 5 and re.search(r"[^aeiou][aeiou][bdgmnpt]$", verb) and verb != "open"
    return f"{verb}{verb[-1] if doubled else ''}ing"


def _third(verb: str) -> str:
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ies"
    return f"{verb}{'es' if re.search(r'(?:[sxzo]|[cs]h)$', verb) else 's'}"


_DOING = {_progressive(verb): verb for verb in (*_VERBS, *_OPEN_ENDED)} | {"travelling": "travel", "begging": "beg"}
_DOES = {_third(verb): verb for verb in (*_VERBS, *_OPEN_ENDED)}


class Token(NamedTuple):
    """A word, in lower case, or a mark; and its characters."""

    text: str
    start: int
    end: int


def actions(caption: str) -> Iterator[Span]:
    """The characters of each verb or phrase that tells what the person does."""
    quoted = [match.span() for match in _QUOTED.finditer(caption)]
    tokens = [
        Token(match.group().lower().replace("’", "'"), *match.span())
        for match in _TOKEN.finditer(caption)
        if not any(first < match.start() < last for first, last in quoted)
    ]
    yield from (match.span() for match in _PHRASES.finditer(caption))
    words = [token.text for token in tokens]
    for place, token in enumerate(tokens):
        if _NOT_DOING.match(caption, token.end):
            continue
        if _acts(words, place, caption[token.end :]) if token.text.endswith("ing") else _does(words, place):
            yield token.start, token.end


def _acts(words: Sequence[str], place: int, rest: str) -> bool:
    """Whether a word in -ing is what a person does; not "running shoes", "a running horse", "a strap crossing"."""
    verb, word = _DOING.get(words[place]), words[place]
    before, after = words[place - 1] if place else ".", words[place + 1] if place + 1 < len(words) else "."
    if word in _WEARING or (word, after) == ("standing", "out") or after not in _OPEN_ENDED.get(verb or "", {after}):
        return False
    noun = NOUNS.get(after)
    if noun is not None and noun.tag in ("garment", "accessory") and word not in _WITH_OBJECT:
        return False
    if before in ("a", "an", "the") and after not in _PEOPLE:
        return False
    carried = _is_thing(before) and NOUNS[before].zone == "carried"
    if verb in _OF_THINGS and _is_thing(before) and (carried or _is_detail(before) or _LIES.match(rest)):
        return False
    last = place - 1
    while last >= 0 and words[last] in _ADVERBS:
        last -= 1
    helped = last >= 0 and (words[last] in _AUXILIARIES or words[last].endswith(("'s", "'re")))
    return verb is not None or (helped and _person_before(words, last if words[last] in _AUXILIARIES else last + 1))


def _does(words: Sequence[str], place: int) -> bool:
    """Whether a word is a finite verb whose subject is a person."""
    verb = words[place] if place and words[place - 1] == "they" and words[place] in _VERBS else _DOES.get(words[place])
    if verb is None or not place:
        return False
    after = words[place + 1] if place + 1 < len(words) else "."
    if after not in _OPEN_ENDED.get(verb, {after}):
        return False
    last = place - 1
    while last > 0 and words[last] in _ADVERBS:
        last -= 1
    before = words[last]
    if before in _PEOPLE or before in _PRONOUNS:
        return True
    if before in ("and", ","):
        return (verb not in _ALSO_THINGS or after in _SOMEWHERE) and _of_a_person(words[:last])
    return _is_thing(before) and not _is_detail(before) and _person_before(words, last + 1)


def _of_a_person(words: Sequence[str]) -> bool:
    """Whether the last sentence of some words is about a person rather than a thing."""
    sentence = words[max((place for place, word in enumerate(words) if word in ".;!?"), default=-1) + 1 :]
    first = next((word for word in sentence if word in _PEOPLE or word in _PRONOUNS or _is_thing(word)), "")
    return first in _PEOPLE or first in _PRONOUNS


def _person_before(words: Sequence[str], place: int) -> bool:
    """Whether the subject of a verb is a person: the next one before it, but for things that the person is in."""
    thing = False
    for word in reversed(words[:place]):
        if word in _PEOPLE or word in _PRONOUNS:
            return not thing
        if word in _CLAUSES:
            return False
        if word in _GOVERNORS:
            thing = False
        elif _is_thing(word):
            thing = True
    return False


def _is_thing(word: str) -> bool:
    return word in NOUNS and NOUNS[word].head != "person"


def _is_detail(word: str) -> bool:
    """Whether a word names a part of clothes that runs or crosses: a stripe, a strap, a zipper."""
    return (NOUNS[word].tag == "garment" and not NOUNS[word].zone) or word in ("strap", "straps")
