"""The last checkpoint, beside the spool: a trail that ends before it was cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from app.audit.chain import Checkpoint

# In the folder of what this machine's processes leave, with the spool.
FOLDER = "audit"
ANCHOR = "anchor.json"
# What it says at least.
KINDS = {"id": int, "last_seq": int, "hash": str}


def anchor_of(it: Checkpoint) -> dict[str, Any]:
    """Return what proves that the trail went at least this far."""
    return {"id": it.id, "last_seq": it.last_seq, "hash": it.hash.hex(), "key_id": it.key_id}


def keep_anchor(folder: Path, it: Checkpoint) -> None:
    """Put it in the place of an earlier one, whole or not at all."""
    path = folder / ANCHOR
    if (known := read_anchor(path)) and known["id"] >= it.id:
        return
    new = folder / f"{ANCHOR}.{os.getpid()}"
    new.write_bytes(orjson.dumps(anchor_of(it)))
    new.replace(path)


def read_anchor(path: Path) -> dict[str, Any] | None:
    """Return what `keep_anchor` wrote, or None where nothing is there. Raises: ValueError."""
    try:
        anchor = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(anchor, dict) or not all(
        isinstance(anchor.get(name), kind) for name, kind in KINDS.items()
    ):
        raise ValueError("not an anchor")
    return anchor
