"""What generated text is worth: whether it repeats itself, and what it is about."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence


def entropy(text: str) -> float:
    """½ (⅔ H₂ + 4/3 H₃) in bits: of bigrams and trigrams of words, 0 where there are none.

    A text that says one thing over and over is near 0; ROME's generation entropy (Zhang et al., 2018).
    """
    words = _words(text)
    return (2 / 3 * _grams(words, 2) + 4 / 3 * _grams(words, 3)) / 2


def likeness(texts: Sequence[str], references: Sequence[str]) -> float:
    """Cosine between the TF-IDF vectors of the texts and of the references, each joined; 0 to 1.

    A word's weight is count · (1 + ln((1 + n) / (1 + df))) over the n texts and references, as scikit-learn smooths it.
    """
    both = [Counter(_words(text)) for text in (*texts, *references)]
    spread = Counter(word for counts in both for word in counts)
    weight = {word: 1 + math.log((1 + len(both)) / (1 + df)) for word, df in spread.items()}
    own, theirs = sum(both[: len(texts)], Counter[str]()), sum(both[len(texts) :], Counter[str]())
    a = {word: n * weight[word] for word, n in own.items()}
    b = {word: n * weight[word] for word, n in theirs.items()}
    size = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
    return sum(v * b.get(word, 0.0) for word, v in a.items()) / size if size else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def _grams(words: Sequence[str], n: int) -> float:
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    total = counts.total()
    return -sum(c / total * math.log2(c / total) for c in counts.values()) if total else 0.0
