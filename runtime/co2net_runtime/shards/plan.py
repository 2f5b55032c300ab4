"""Which videos belong to which shard: every I-th of N in the order of their names."""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from co2net_runtime.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One part of an archive."""

    index: int  # 0 ... count - 1
    count: int  # parts of the archive

    @staticmethod
    def parse(text: str) -> "Shard":
        """Read "I/N", as "0/8" ... "7/8".

        Raises InputError for another text, or an I that is not below N.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not int(match[1]) < int(match[2]):
            raise InputError(f"--shard {text}: expected I/N with I from 0 to N - 1, as 0/8")
        return Shard(int(match[1]), int(match[2]))

    def of(self, names: Collection[str]) -> list[str]:
        """Return this shard's names, sorted; they do not depend on the order given.

        Over all shards each name comes once, and the shards' sizes differ by one at most.

        Example:
            >>> Shard(1, 2).of(["c", "a", "b", "d"])
            ['b', 'd']
        """
        return sorted(names)[self.index :: self.count]


def shard_all(names: Collection[str], count: int) -> list[list[str]]:
    """Return the names of each of `count` shards: `Shard.of` for all of them, sorted once."""
    ordered = sorted(names)
    return [ordered[index::count] for index in range(count)]


def names_sha256(names: Sequence[str]) -> str:
    """Return a digest of a set of names that does not depend on their order."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
