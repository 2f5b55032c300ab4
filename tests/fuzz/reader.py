"""A reader of a user's file, and the arrays and kinds of damage that several readers take."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutators
from tests.fuzz.mutators import Mutator, damage, json_tree, mix, npy_header, swap_tokens

DATA = Path(__file__).parents[1] / "runtime" / "data"
DIM = 16

NPY = mix(npy_header, damage)
ZIP = mutators.zip_member(NPY)
TEXT = mix(json_tree, swap_tokens, damage)
LINES = mix(swap_tokens, damage)
PICKLE = mix(mutators.pickle_codes, damage)
TORCH = mutators.zip_member(mix(PICKLE, damage))

ANNOTATIONS = {
    "version": "1",
    "classes": ["Jump", "Throw"],
    "database": {
        "a": {
            "subset": "training",
            "duration": 61.4,
            "fps": 25.0,
            "annotations": [{"segment": [3.2, 9.6], "label": "Jump"}],
        },
        "b": {
            "subset": "test",
            "duration": 30,
            "annotations": [
                {"segment": [0, 5], "label": "Throw"},
                {"segment": ["1.5", "2.5"], "label": "Jump"},
            ],
        },
    },
}


@dataclass(frozen=True)
class Reader:
    """A way into the program."""

    name: str
    file: str  # the name that a user's file would have
    original: Callable[[Path], bytes]  # an untouched file; the folder is for what lies beside it
    mutate: Mutator
    read: Callable[[Path], Any]


def npy(array: Any, **options: Any) -> bytes:
    """Return an array as the bytes of a .npy file."""
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def rows(count: int = 20) -> Any:
    """Return features (count, DIM)."""
    return np.random.default_rng(count).random((count, DIM), np.float32)


def json_file(document: Any) -> Callable[[Path], bytes]:
    """Return what makes an untouched file of a JSON document."""
    return lambda _: json.dumps(document, indent=1).encode()


def text_file(text: str) -> Callable[[Path], bytes]:
    """Return what makes an untouched file of a text."""
    return lambda _: text.encode()
