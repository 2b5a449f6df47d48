"""Tags of captions on hand-made cases: what carries one, which characters show it, and what only looks like one."""

from __future__ import annotations

import pytest

from huecry.finetune.audit_tags import tags

CARRY = {
    "negation": [
        ("A man in a red coat, [no] hat.", 1),
        ("She is [not] wearing shoes.", 1),
        ("He [doesn't] carry a bag and walks [without] a coat.", 2),
        ("You [can't] see her face.", 1),
    ],
    "hedge": [
        ("[Maybe] a student in blue jeans.", 1),
        ("He [appears to] be carrying a bag.", 1),
        ("She wears [either black or dark blue] jeans.", 1),
        ("A [green or yellow] bag.", 1),
        ("He has a [satchel or bag].", 1),
        ("[Some kind of] bag.", 1),
    ],
    "bystander": [
        ("The man is walking [next to a woman].", 1),
        ("[Two young men] in white shirts.", 1),
        ("She walks with [her friend].", 1),
        ("He talks to [another man].", 1),
        ("She is speaking to [someone else].", 1),
    ],
    "left_right": [
        ("A bag in his [left hand].", 1),
        ("On the [right] a wall, and a strap over the [left] shoulder.", 2),
    ],
    "action": [
        ("The man is [walking] and [talking] on his phone.", 2),
        ("She [looks at] a book.", 1),
        ("A man [sits] on a bench.", 1),
        ("He is [pushing] a cart.", 1),
    ],
}
CARRY_NONE = {
    "negation": ["A notable white shirt with a knot.", "Bus no. 7 stands behind her."],
    "hedge": ["A woman appears in the picture.", "No hat or bag.", "A black and white shirt."],
    "bystander": ["A passer-by in a red coat.", "A man with a man's coat.", "A baby pink shirt."],
    "left_right": ["A jacket left open over a shirt.", "She stands right behind a car.", "A bright red coat."],
    "action": ["A person wearing running shoes and walking shorts.", "A man carrying a red bag.", "Reading glasses."],
}


@pytest.mark.parametrize(("rule", "marked", "count"), [(r, text, n) for r, rows in CARRY.items() for text, n in rows])
def test_a_caption_that_carries_a_tag(rule, marked, count):
    caption = marked.replace("[", "").replace("]", "")
    spans = [span for name, span in tags(caption) if name == rule]
    assert len(spans) == count
    expected, at = [], 0
    for part in marked.split("[")[1:]:
        word = part.split("]")[0]
        at = caption.index(word, at)
        expected.append((at, at + len(word)))
        at += len(word)
    for (first, last), (start, end) in zip(spans, expected, strict=True):
        assert first <= start < end <= last or start <= first < last <= end, caption[first:last]


@pytest.mark.parametrize(("rule", "caption"), [(r, text) for r, texts in CARRY_NONE.items() for text in texts])
def test_a_caption_that_only_looks_like_it(rule, caption):
    assert [caption[first:last] for name, (first, last) in tags(caption) if name == rule] == []


def test_tags_of_one_rule_never_overlap_and_stay_inside():
    caption = "A man is walking with a friend next to another man, maybe either red or blue, his left hand not in view."
    by_rule: dict[str, int] = {}
    for rule, (first, last) in tags(caption):
        assert 0 <= first < last <= len(caption)
        assert first >= by_rule.get(rule, 0)
        by_rule[rule] = last
    assert by_rule.keys() == CARRY.keys()


@pytest.mark.parametrize("caption", ["", "...", "é ü 漢字", "no" * 2000, "left right " * 500])
def test_any_text_will_do(caption):
    assert all(0 <= first < last <= len(caption) for _, (first, last) in tags(caption))
