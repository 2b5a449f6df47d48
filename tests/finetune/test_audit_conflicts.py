"""Colours of two captions that contradict each other, on hand-made cases."""

from __future__ import annotations

import pytest

from huecry.finetune.audit_conflicts import conflicts


@pytest.mark.parametrize(
    ("first", "second", "things"),
    [
        ("A red coat over blue jeans.", "A green coat over blue jeans.", ["coat"]),
        ("White shoes and a black shirt.", "A yellow shirt and black shoes.", ["shirt", "shoes"]),
        ("A navy coat.", "A black coat.", []),  # neighbours: annotators take one for the other
        ("A black and white shirt.", "A white shirt.", []),
        ("A blue and khaki checked polo.", "A blue plaid polo.", []),
        ("A red coat.", "A green scarf.", []),
        ("A red coat.", "No green coat.", []),
        ("A red coat.", "A man in a coat next to a man in a green coat.", []),
        ("A colorful dress.", "A green dress.", []),
        ("Black shoes with white soles.", "White laces on black shoes.", []),
        ("A red coat.", "A coat.", []),
        ("A red hat and a coat.", "A white hat and a coat.", ["hat"]),
        ("His tie is blue.", "A man with a yellow tie.", ["tie"]),
        ("A red bag and a blue backpack.", "A green backpack and a white bag.", []),  # which bag is meant is open
        ("A black coat over a white shirt.", "A black coat over a grey jacket and a red top.", []),
        ("A striped shirt in blue and green, white pants.", "White pants and a green striped shirt.", []),
        ("A salmon shirt.", "A pink shirt.", []),
        ("Someone with hair in a bun in a blue and green plaid polo.", "A blue checked polo.", []),
        ("A rust coat.", "A brown coat.", []),
        ("A white dress with red flowers.", "A red dress.", []),
    ],
)
def test_colours_that_contradict_each_other(first, second, things):
    assert [evidence.partition(":")[0] for evidence in conflicts([first, second])] == things
    assert [evidence.partition(":")[0] for evidence in conflicts([second, first])] == things


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A lady with a black handbag.", "The bag that she carries is pink."),
        ("The hoodie of the boy is green.", "A white sweatshirt."),
        ("The shirt he wears is orange.", "His t-shirt is blue."),
    ],
)
def test_one_thing_by_two_names(first, second):
    assert len([*conflicts([first, second])]) == len([*conflicts([second, first])]) == 1


def test_one_conflict_a_garment_however_many_captions():
    (evidence,) = conflicts(["A red coat.", "A red coat.", "A green coat.", "A green coat."])
    assert evidence == "coat: red in caption 0, green in caption 2"
    assert [*conflicts(["A red coat."])] == []
    assert [*conflicts([])] == []
