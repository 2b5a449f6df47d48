"""The tokenizer against open_clip's own, and what captions can do to it."""

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from huecry.data.tokens import EOT, MASK, SOT, VOCAB, encode, pack, tokenize, vocabulary

CAPTIONS_FILE = Path(__file__).parents[3] / "shared/data/cuhk_pedes_captions/caption_val_new.json"

CAPTIONS = [
    "A man's T-shirt isn't RED; they'll say it's dark-blue, we've seen 123-45 and I'm sure he'd agree.",
    "double  spaces,\ttabs\nand new lines ",
    "'S 'LL don''t ...'s !!'s x'S",
    "won’t “curly” café &amp; naïve, ½ off",
    "",
    "light-colored (off-white) jacket/coat w/ 3/4 sleeves @ 100%!!!",
    "grey " * 100,
]


@pytest.fixture(scope="module")
def reference():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def test_the_vocabulary_is_open_clips(reference):
    words, merges = vocabulary()
    assert len(words) == VOCAB
    assert [word for word, index in words.items() if reference.encoder.get(word) != index] == [
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    assert (words["<|startoftext|>"], words["<|endoftext|>"], words["jekyll</w>"]) == (SOT, EOT, MASK)
    assert merges == list(reference.bpe_ranks)


@pytest.mark.parametrize("context", [77, 12])
def test_ids_are_open_clips(reference, context):
    assert torch.equal(tokenize(CAPTIONS, context), reference(CAPTIONS, context))


@pytest.mark.skipif(not CAPTIONS_FILE.is_file(), reason="the captions of CUHK-PEDES are not here")
def test_ids_of_real_captions_are_open_clips_and_quick(reference):
    captions = [row["captions"] for row in json.loads(CAPTIONS_FILE.read_text())]
    ids = tokenize(captions)
    assert torch.equal(ids, reference(captions))
    start = time.process_time()
    tokenize(captions)
    assert len(captions) / (time.process_time() - start) > 10_000


def test_a_worked_example():
    caption = "A man in a dark blue-grey t-shirt and black shoes"
    ids = (320, 786, 530, 320, 3144, 1746, 268, 5046, 339, 268, 2523, 537, 1449, 4079)
    assert encode(caption) == ids
    assert tokenize([caption])[0].tolist() == [SOT, *ids, EOT, *[0] * 61]


def test_truncation_keeps_the_end():
    assert tokenize(["red " * 100])[0, -1] == EOT
    assert pack([[1, 2, 3, 4], [5]], context=4).tolist() == [[SOT, 1, 2, EOT], [SOT, 5, EOT, 0]]


def test_special_tokens_cannot_be_typed():
    ids = encode("a man <|endoftext|> <end_of_text> <|startoftext|>")
    assert ids
    assert max(ids) < SOT


def test_it_travels_to_workers_and_needs_no_open_clip():
    assert pickle.loads(pickle.dumps(tokenize))(["a man"]).tolist() == tokenize(["a man"]).tolist()
    code = (
        "import sys; from huecry.data.tokens import tokenize; tokenize(['a man']);"
        "sys.exit(any(name in sys.modules for name in ('open_clip', 'torchvision', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
