"""Every reader of a user's file: what it reads when nothing is wrong, how that is damaged."""

from types import MappingProxyType

from tests.fuzz.reader import Reader
from tests.fuzz.runtime_readers import RUNTIME_READERS
from tests.fuzz.training_readers import TRAINING_READERS

__all__ = ["READERS", "Reader"]

READERS = MappingProxyType({one.name: one for one in (*RUNTIME_READERS, *TRAINING_READERS)})
