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
        ("She carries [nothing] and he [hasnt] a hat.", 2),
        ("A coat [w/o] buttons that [lacks] a collar.", 2),
    ],
    "hedge": [
        ("[Maybe] a student in blue jeans.", 1),
        ("He [appears to] be carrying a bag.", 1),
        ("She wears [either black or dark blue] jeans.", 1),
        ("A [green or yellow] bag.", 1),
        ("He has a [satchel or bag].", 1),
        ("[Some kind of] bag.", 1),
        ("His shoes are brown[(?)].", 1),
        ("A bag that [resembles] a sack, [as far as one can] tell.", 2),
    ],
    "bystander": [
        ("The man is walking [next to a woman].", 1),
        ("[Two young men] in white shirts.", 1),
        ("She walks with [her friend].", 1),
        ("He talks to [another man].", 1),
        ("She is [speaking to someone] else.", 1),
        ("She has a coat, and [a tall man] passes her.", 1),
        ("Behind her there is [a girl] in red.", 1),
        ("He wears a suit. [A girl in pink is to his side].", 1),
        ("A boy with [his dad's arm] around him.", 1),
        ("A man [whose wife] wears a red dress.", 1),
        ("A woman in a coat is [hidden by a cyclist].", 1),
        ("A woman with a bag, [a couple in the background].", 1),
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
        ("The man, in blue overalls, is [zipping] up a bag.", 1),
        ("A lady with a red umbrella and boots [hurries] home.", 1),
        ("A boy in tan shorts [runs] over the lawn and [waves at] us.", 2),
        ("She [takes] a picture and he [gets] on a bus.", 2),
        ("They [kneel] on the floor.", 1),
        ("A woman in a red dress [sitting] on a bench.", 1),
    ],
}
CARRY_NONE = {
    "negation": ["A notable white shirt with a knot.", "Bus no. 7 stands behind her.", "Grey no-show socks."],
    "hedge": [
        "Her face can't be seen.",
        "A woman appears in the picture.",
        "A head appears over a scarf.",
        "No hat or bag.",
        "A black and white shirt.",
    ],
    "bystander": [
        *("A passer-by in a red coat.", "A man with a man's coat.", "A baby pink shirt.", "A kid in a red coat."),
        *("The pedestrian is a tall man.", "A woman with a baby-pink blouse and mom jeans.", "A man in a dad cap."),
        *(
            "A girl whose shirt has a picture of a woman.",
            "A shirt with two children on it.",
            "A man has a couple of bags.",
        ),
    ],
    "left_right": ["A jacket left open over a shirt.", "She stands right behind a car.", "A bright red coat."],
    "action": [
        *("A person wearing running shoes and walking shorts.", "A man carrying a red bag.", "Reading glasses."),
        *("A strap crossing the chest and a stripe running down the leg.", "Jeans sitting low at the hips."),
        *("A sweater with a dancing bear.", 'The tee is white and reads "Keep Running".', "Tall riding boots."),
        *(
            "Her shoes look to be silver.",
            "A hat sits on the head.",
            "The man is balding.",
            "A scarf with checks and dots.",
        ),
    ],
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
