"""What names a row of a list: its id, and where that is not enough, a small value of its own."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import simplejson


class Nameless(NamedTuple):
    """A row without an id that can be kept as text, by a digest of what it says."""

    digest: str


class Again(NamedTuple):
    """A row whose key has come before: the key, and what tells this row from the others."""

    key: "Key"
    place: int


Key = str | Nameless | Again


def row_keys(rows: Iterable[Any]) -> list[Key]:
    """A key for each row of a page, distinct within the page."""
    keys: list[Key] = []
    seen: set[Key] = set()
    for place, row in enumerate(rows):
        key: Key = _own(row)
        if key in seen:
            key = Again(key, place)
        seen.add(key)
        keys.append(key)
    return keys


def _own(row: Any) -> str | Nameless:
    name = row.get("id") if isinstance(row, dict) else None
    if isinstance(name, str) and name and _can_be_encoded(name):
        return name
    raw = simplejson.dumps(row, sort_keys=True, default=str)
    return Nameless(hashlib.blake2b(raw.encode(), digest_size=12).hexdigest())


def _can_be_encoded(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def own_key(key: Key) -> str | Nameless:
    """The key that the row would have if none came before it."""
    while isinstance(key, Again):
        key = key.key
    return key


def ids_of(keys: Iterable[Key]) -> list[str]:
    """The ids among keys, each as often as it stands there."""
    if isinstance(keys, list) and set(map(type, keys)) <= {str}:
        return list(keys)
    own = (key if isinstance(key, str) else own_key(key) for key in keys)
    return [key for key in own if isinstance(key, str)]
