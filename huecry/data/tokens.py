"""CLIP's byte-pair tokenizer, from the vocabulary inside open_clip_torch; no network, no import of open_clip.

Captions become rows ``<start> ids <end> 0 0 ...``. The same ids as open_clip's own tokenizer, but a special
token spelt out in a caption is ordinary text here.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from huecry.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SOT = 49406
EOT = 49407
MASK = 49405
"""The last merge ("jekyll"), given up as a word and used as the mask."""
VOCAB = 49408
CONTEXT = 77

_BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@lru_cache(maxsize=1)
def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's words with their ids, and the merges in order.

    Raises:
        UserError: open_clip_torch, which carries the file, is not installed.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    spec = find_spec("open_clip")
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [path for path in (Path(folder) / _BPE_FILE for folder in folders) if path.is_file()]
    if not files:
        raise UserError(f"CLIP's vocabulary {_BPE_FILE} was not found: pip install open_clip_torch")
    lines = gzip.decompress(files[0].read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in (line.split() for line in lines[1 : VOCAB - 512 - 2 + 1])]
    # The 256 bytes stand in GPT-2's order: printable ones first, then the others, renamed to codes from 256 on.
    letters = sorted(ByteLevel.alphabet(), key=ord)
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: index for index, word in enumerate(words)}, merges


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    words, merges = vocabulary()
    tokenizer = Tokenizer(BPE(vocab=words, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def _clean(text: str) -> str:
    """Mend mis-decoded characters, curly quotes and HTML entities; plain ASCII has none of them."""
    if text.isascii() and "&" not in text:
        return text
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


@lru_cache(maxsize=1 << 14)
def encode(text: str) -> tuple[int, ...]:
    """The ids of a caption or a piece of one, without start and end."""
    return tuple(_tokenizer().encode(_clean(text), add_special_tokens=False).ids)


def pack(rows: Sequence[Sequence[int]], context: int = CONTEXT) -> Tensor:
    """Put start and end around rows of ids, cut what does not fit, pad with 0: [n, context] int64."""
    packed = torch.zeros(len(rows), context, dtype=torch.long)
    for target, ids in zip(packed, rows, strict=True):
        kept = [SOT, *ids[: context - 2], EOT]
        target[: len(kept)] = torch.tensor(kept)
    return packed


def tokenize(captions: Sequence[str], context: int = CONTEXT) -> Tensor:
    """Turn n captions into ids [n, context] int64: start, words, end (never cut off), zeros.

    Raises:
        UserError: CLIP's vocabulary is not installed.
    """
    return pack([encode(caption) for caption in captions], context)
