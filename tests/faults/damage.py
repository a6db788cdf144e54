"""Ways in which files are damaged, or made by someone who means harm."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

JUNK = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**9,
    2**63,
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "abc",
    "a\nb",
    "../../secret",
    "x" * 10_000,
    [],
    {},
    [[]],
    [1, 2],
    [10**5, 10**5],
    {"kind": "Discrete", "n": 10**6, "start": 0},
]
"""Values that belong nowhere, or are too large where they belong."""
_SIZES = [0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes after one to four accidents."""
    for _ in range(rng.integers(1, 5)):
        data = _ACCIDENTS[rng.integers(len(_ACCIDENTS))](data or b"\0", rng)
    return data


def _span(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start, length = rng.integers(len(data)), rng.integers(1, 65)
    return int(start), int(min(start + length, len(data)))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(len(array), size=rng.integers(1, 5))
    array[where] ^= np.uint8(1) << rng.integers(8, size=len(where), dtype=np.uint8)
    return array.tobytes()


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data))]


def _lose(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _span(data, rng)
    return data[:start] + data[stop:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _span(data, rng)
    return data[:stop] + data[start:stop] * int(rng.integers(1, 9)) + data[stop:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    (start, stop), at = _span(data, rng), rng.integers(len(data))
    return data[:at] + data[start:stop] + data[at + stop - start :]


def _declare(data: bytes, rng: np.random.Generator) -> bytes:
    """Write a size over some bytes, as headers have them."""
    at, width = rng.integers(len(data)), int(rng.choice([1, 2, 4, 8]))
    size = _SIZES[rng.integers(len(_SIZES))] % 2 ** (8 * width)
    return data[:at] + size.to_bytes(width, "little") + data[at + width :]


def _renumber(data: bytes, rng: np.random.Generator) -> bytes:
    """Write another number in place of one written in digits."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    one = found[rng.integers(len(found))]
    return data[: one.start()] + str(_SIZES[rng.integers(len(_SIZES))]).encode() + data[one.end() :]


_ACCIDENTS = [_flip, _flip, _cut, _lose, _repeat, _splice, _declare, _renumber]


def twisted(data, rng: np.random.Generator):
    """Return plain data with one to three of its values, or keys, replaced by junk."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.integers(1, 4)):
        places = list(_places(data))
        if not places:
            return data
        holder, key = places[rng.integers(len(places))]
        junk = JUNK[rng.integers(len(JUNK))]
        what = rng.integers(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[str(junk)[:1000] if not isinstance(junk, int) else "9"] = holder.pop(key)
        elif what == 2:
            other, at = places[rng.integers(len(places))]
            holder[key] = json.loads(json.dumps(other[at]))
        else:
            holder[key] = junk
    return data


def _places(data):
    """Yield every container and key or index in it."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(items) if isinstance(data, dict | list) else []:
        yield data, key
        if isinstance(value, dict | list):
            yield from _places(value)


def reseal(checkpoint: Path) -> None:
    """Write the manifest anew, as someone does who changed files on purpose."""
    files = {
        path.name: {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in checkpoint.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }
    schema = json.loads((checkpoint / "manifest.json").read_text())["schema"]
    seal(checkpoint, {"schema": schema, "files": files})


def seal(checkpoint: Path, manifest) -> None:
    """Write a manifest as checkpoints have it."""
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (checkpoint / "manifest.json").write_text(text)
