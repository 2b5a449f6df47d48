"""Features of a split against one-by-one encoding, and who counts as a match."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from huecry.data.pair_lists import PairList, read_pair_list
from huecry.data.readers import read
from huecry.data.records import PhotoSet, Record
from huecry.data.tokens import MASK, encode, tokenize
from huecry.errors import UserError
from huecry.retrieval.evaluate import (
    PARTS,
    EvalConfig,
    Features,
    average_by_person,
    check_clean,
    clean_metrics,
    evaluate_split,
    extract,
    identities,
    image_to_text_metrics,
    in_lines,
    retrieval_metrics,
    retrieval_queries,
    split_figures,
)


@pytest.fixture(scope="module")
def photos(make_photos: Any) -> PhotoSet:
    return read(make_photos(persons=3, photos=3, captions=2))["train"]


@pytest.fixture
def bundle(tiny_bundle: Any, photos: PhotoSet) -> Any:
    return tiny_bundle({"contrastive": {}}, photos)


def features_of(bundle: Any, photos: PhotoSet, **options: Any) -> Features:
    towers = bundle.towers
    return extract(bundle, photos, size=towers.image_size, context=towers.context, **options)


def one_by_one(bundle: Any, photos: PhotoSet) -> tuple[Tensor, Tensor]:
    towers = bundle.towers
    height, width = towers.image_size
    mean, std = torch.tensor(towers.mean).view(3, 1, 1), torch.tensor(towers.std).view(3, 1, 1)
    images, texts = [], []
    with torch.no_grad():
        for record in photos:
            picture = record.open().resize((width, height), Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
            images.append(towers.encode_image(((pixels - mean) / std)[None]).pooled[0])
            texts += [towers.encode_text(tokenize([caption])).pooled[0] for caption in record.captions]
    return torch.stack(images), torch.stack(texts)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 1000])
def test_features_are_those_of_each_photograph_and_caption_alone_in_order(bundle, photos, batch_size):
    found = features_of(bundle, photos, batch_size=batch_size)
    images, texts = one_by_one(bundle, photos)
    torch.testing.assert_close(found.images, images, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.texts, texts, rtol=0, atol=1e-5)
    assert torch.cdist(images, images).fill_diagonal_(1).min() > 1e-3  # so that an exchange would show
    assert torch.cdist(texts, texts).fill_diagonal_(1).min() > 1e-3
    assert found.readable.tolist() == [True] * 9
    assert not found.images.requires_grad


class Echo(nn.Module):
    """A model whose features are the inputs, and which notes in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.inner = nn.Dropout()
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, batch: dict[str, Tensor], mode: str) -> dict[str, Tensor]:
        assert mode == "encode"
        self.calls.append((self.training, torch.is_grad_enabled()))
        return {name: tensor.flatten(1)[:, :77] for name, tensor in batch.items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_is_restored(photos, training):
    model = Echo().train(training)
    extract(model, photos, size=(16, 8), context=77)
    assert (model.training, model.inner.training) == (training, training)
    assert set(model.calls) == {(False, False)}
    assert len(model.calls) == 2


def test_captions_keep_their_rows(photos):
    found = extract(Echo(), photos, size=(16, 8), context=77, batch_size=4)
    assert torch.equal(found.texts, tokenize(photos.captions).float())


def test_the_global_generators_are_left_alone(photos, global_states):
    before = global_states()
    extract(Echo(), photos, size=(16, 8), context=77)
    assert global_states() == before


# who counts as a match


def record(name: str, person: str | None, *captions: str) -> Record:
    return Record(Path(name), captions, person, name)


FIVE = PhotoSet(
    "test",
    [
        record("a", "anna", "a0", "a1"),
        record("b", None, "b0"),
        record("c", "anna", "c0"),
        record("d", None),
        record("e", "ben", "e0"),
    ],
)
AXES = torch.eye(5)


def test_an_unknown_person_matches_only_the_own_photograph():
    ids = identities(FIVE).tolist()
    assert ids[0] == ids[2]
    assert len({ids[0], ids[1], ids[3], ids[4]}) == 4


def ranked(readable: list[bool], texts: Tensor) -> dict[str, float]:
    return retrieval_metrics(Features(AXES, texts, torch.tensor(readable)), FIVE)


def test_every_caption_asks_and_every_photograph_answers():
    perfect = ranked([True] * 5, AXES[[0, 2, 1, 2, 4]])
    assert (perfect["R1"], perfect["queries"], perfect["gallery"], perfect["persons"]) == (100.0, 5, 5, 3)
    # The caption of b points at d, the other unknown person: its own photograph comes second after all others tie.
    wrong = ranked([True] * 5, AXES[[0, 2, 3, 2, 4]])
    assert wrong["R1"] == pytest.approx(80.0)


def test_average_precision_by_hand():
    texts = F.normalize(
        torch.tensor([[3.0, 2, 1, 0, 0]] * 2 + [[3.0, 2, 1, 0, 0]] + [[3.0, 2, 1, 0, 0]] + [[0.0, 0, 0, 0, 1]])
    )
    found = ranked([True] * 5, texts)
    anna, b, ben = (1 / 1 + 2 / 3) / 2, 1 / 2, 1.0
    assert found["mAP"] == pytest.approx(100 * (3 * anna + b + ben) / 5)
    trapezoid = retrieval_metrics(Features(AXES, texts, torch.ones(5, dtype=torch.bool)), FIVE, "trapezoid")
    assert trapezoid["mAP"] < found["mAP"]


def test_an_unreadable_photograph_neither_asks_nor_answers():
    found = ranked([False, True, True, True, True], AXES[[0, 2, 1, 2, 4]])
    assert (found["queries"], found["gallery"], found["R1"]) == (3, 4, 100.0)
    blank = AXES.clone()
    blank[0] = blank[1]  # whatever a blanked photograph's features are
    features = Features(blank, AXES[[0, 2, 1, 2, 4]], torch.tensor([False, True, True, True, True]))
    assert retrieval_metrics(features, FIVE) == found


def test_queries_are_dataset_rows_and_persons_have_their_means():
    texts = torch.tensor([[3.0, 2, 1, 0, 0]] * 4 + [[0.0, 0, 0, 0, 1]])
    features = Features(AXES, texts, torch.tensor([True, False, True, True, True]))
    found = retrieval_queries(features, FIVE)
    assert found.query.tolist() == [0, 1, 3, 4]  # the caption of b, whose photograph is unreadable, does not ask
    assert found.summary() == retrieval_metrics(features, FIVE)
    assert average_by_person(found, FIVE) == {"anna": (100.0, 3), "ben": (100.0, 1)}
    every = retrieval_queries(Features(AXES, texts, torch.ones(5, dtype=torch.bool)), FIVE)
    persons = average_by_person(every, FIVE)
    assert persons["anna"] == (pytest.approx(100 * (1 / 1 + 2 / 3) / 2), 3)
    assert persons["photograph b"] == (pytest.approx(50.0), 1)
    assert sum(mean * count for mean, count in persons.values()) / 5 == pytest.approx(every.summary()["mAP"])


def test_skip_leaves_an_unreadable_photograph_out_and_error_names_it(make_photos, tiny_bundle):
    folder = make_photos(persons=2)
    (folder / "test" / "1_0.png").write_bytes(b"not a picture")
    photos = read(folder)["test"]
    bundle = tiny_bundle({"contrastive": {}}, photos)
    with pytest.raises(UserError, match=r"^test/1_0\.png: "):
        evaluate_split(bundle, bundle.towers, photos, EvalConfig())
    with pytest.warns(UserWarning, match=r"test/1_0\.png"):
        found = evaluate_split(bundle, bundle.towers, photos, EvalConfig(), on_bad_image="skip").summary()
    assert (found["queries"], found["gallery"], found["persons"]) == (6, 3, 2)


def test_a_split_without_captions():
    silent = PhotoSet("val", [record("a", "1"), record("b", "2")])
    with pytest.raises(UserError, match=r"^split val: no caption"):
        retrieval_metrics(Features(AXES[:2], AXES[:0], torch.tensor([True, True])), silent)


def test_a_split_without_a_readable_photograph():
    with pytest.raises(UserError) as caught:
        ranked([False] * 5, AXES)
    assert "readable" in str(caught.value)


def test_features_that_are_not_finite():
    with pytest.raises(UserError):
        ranked([True] * 5, torch.full((5, 5), float("nan")))


def test_evaluation_is_of_the_split_and_repeats(bundle, photos):
    first = evaluate_split(bundle, bundle.towers, photos, EvalConfig(batch_size=4)).summary()
    second = evaluate_split(bundle, bundle.towers, photos, EvalConfig(batch_size=4)).summary()
    assert first == second
    assert (first["queries"], first["gallery"], first["persons"]) == (18, 9, 3)
    assert 0 < first["mINP"] <= first["mAP"] <= 100
    images, texts = one_by_one(bundle, photos)
    scores = F.normalize(texts) @ F.normalize(images).T
    best = scores.argmax(dim=1).numpy()
    by_hand = (photos.image_person[best] == photos.row_person).mean()
    assert first["R1"] == pytest.approx(100 * by_hand)


# the other way round


def test_image_to_text_is_the_transposed_question():
    features = Features(AXES, TEXTS, torch.tensor([True, True, False, True, True]))
    found = image_to_text_metrics(features, FIVE)
    ids, rows = identities(FIVE), FIVE.row_image
    told = [row for row, image in enumerate(rows) if features.readable[image]]
    precisions = []
    for image in range(len(FIVE)):
        if features.readable[image] and ids[image] in ids[rows[told]]:
            cosines = [float(F.cosine_similarity(AXES[image], TEXTS[row], dim=0)) for row in told]
            order = sorted(range(len(told)), key=lambda k, scores=cosines: -scores[k])  # stable: ties keep their order
            hits = [ids[rows[told[k]]] == ids[image] for k in order]
            precisions.append(np.mean([sum(hits[: k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit]))
    assert (found["queries"], found["gallery"]) == (len(precisions), len(told)) == (3, 4)
    assert found["mAP"] == pytest.approx(100 * np.mean(precisions))


# without colours


def test_captions_whose_colours_are_erased(bundle, photos):
    """As if the word whose id is the mask's stood in the place of the colours."""
    assert encode("jekyll") == (MASK,)
    colours = re.compile("red|blue|green|yellow|white|black|orange|purple|grey|brown|pink")
    bare = [replace(one, captions=tuple(colours.sub("jekyll", said) for said in one.captions)) for one in photos]
    found = split_figures(bundle, bundle.towers, photos, EvalConfig(), None)
    erased = found["colour_erased"]
    drops = {key: erased.pop(f"{key}_drop") for key in ("R1", "mAP")}
    assert drops == {key: found[key] - erased[key] for key in drops}
    assert any(drops.values())
    alone = evaluate_split(bundle, bundle.towers, PhotoSet("train", bare), EvalConfig()).summary()
    assert erased == pytest.approx(alone)


def test_the_lines_for_people(bundle, photos):
    found = split_figures(bundle, bundle.towers, photos, EvalConfig(), None)
    short, long = (list(in_lines(found, strata=shown)) for shown in (False, True))
    assert long[: len(short)] == short
    assert [line.partition(":")[0] for line in long[len(short) :]] == [
        "with a colour word, 18 queries",
        "without a colour word, 0 queries",
        "with a negation, 0 queries",
        "without a negation, 18 queries",
        "colour words erased",
    ]


# with and without the pairs of a list


@pytest.fixture
def excluding(tmp_path: Path) -> Any:
    """`excluding({"file": ...}, ...)`: the list of these lines."""

    def make(*lines: dict[str, Any]) -> PairList:
        path = tmp_path / "exclude.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        return read_pair_list(str(path), weighted=False)

    return make


TEXTS = torch.tensor([[3.0, 2, 1, 0, 0]] * 4 + [[0.0, 1, 0, 0, 3]])  # anna a0, anna a1, b, anna c, ben


def test_clean_figures_by_hand(excluding):
    features = Features(AXES, TEXTS, torch.ones(5, dtype=torch.bool))
    everything = retrieval_metrics(features, FIVE)
    first, second = (1 / 1 + 2 / 3) / 2, 1 / 2  # anna's two photographs at ranks 1 and 3, b's at 2
    assert everything["mAP"] == pytest.approx(100 * (3 * first + second + 1) / 5)
    caption = clean_metrics(features, FIVE, excluding({"file": "b", "caption": 0}))
    assert caption["mAP"] == pytest.approx(100 * (3 * first + 1) / 4)
    counts = ("queries", "gallery", "excluded", "excluded_photographs")
    assert [caption[key] for key in counts] == [4, 5, 1, 0]
    whole = clean_metrics(features, FIVE, excluding({"file": "b"}))
    assert whole["mAP"] == pytest.approx(100.0)  # without b in the gallery, c comes second
    assert [whole[key] for key in counts] == [4, 4, 1, 1]
    assert retrieval_metrics(features, FIVE) == everything


def test_a_list_that_does_not_speak_of_the_split_changes_nothing(excluding):
    features = Features(AXES, TEXTS, torch.ones(5, dtype=torch.bool))
    exclude = excluding({"file": "a", "split": "val"}, {"file": "elsewhere"})
    clean = clean_metrics(features, FIVE, exclude)
    digest = clean.pop("exclude_sha256")
    assert digest == exclude.digest
    assert clean == {**retrieval_metrics(features, FIVE), "excluded": 0, "excluded_photographs": 0}


def test_an_unreadable_photograph_stays_out_of_both(excluding):
    features = Features(AXES, TEXTS, torch.tensor([True, True, False, True, True]))
    clean = clean_metrics(features, FIVE, excluding({"file": "e"}))
    assert (clean["queries"], clean["gallery"], clean["excluded"]) == (3, 3, 1)


def test_a_list_that_leaves_no_query(excluding):
    exclude = excluding(*({"file": name} for name in "abce"))
    with pytest.raises(UserError, match=r"exclude\.jsonl: leaves split test no caption"):
        check_clean(FIVE, exclude)
    check_clean(FIVE, None)


def test_evaluation_reports_all_and_clean(bundle, photos, excluding):
    exclude = excluding({"file": photos[0].name}, {"file": photos[1].name, "caption": 1})
    both = split_figures(bundle, bundle.towers, photos, EvalConfig(), exclude)
    plain = split_figures(bundle, bundle.towers, photos, EvalConfig(), None)
    clean = both.pop("clean")
    strata = both["strata"]
    assert (strata.pop("flagged")["queries"], strata.pop("not_flagged")["queries"]) == (3, 15)
    assert both == plain
    flat = {key: value for key, value in plain.items() if key not in PARTS}
    assert flat == evaluate_split(bundle, bundle.towers, photos, EvalConfig()).summary()
    fewer = PhotoSet("train", [photos[1], *photos[2:]])
    features = features_of(bundle, fewer)
    alone = retrieval_queries(features, fewer, rows=np.arange(len(fewer.row_image)) != 1).summary()
    for key, value in alone.items():
        assert clean[key] == pytest.approx(value), key
    assert (clean["excluded"], clean["excluded_photographs"]) == (3, 1)
