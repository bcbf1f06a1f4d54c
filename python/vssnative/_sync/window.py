"""How leased and planned rows are cut into batches: edits first, then texts of similar length together.

A model pads the texts of a call to the longest, so rows are leased thousands at a time, and each call gets neighbours
by length. No SQL here.
"""

from __future__ import annotations

from .batch import Batch
from .queue import Entry


def cut(planned: Batch, texts: int, characters: int) -> list[Batch]:
    """Parts of a planned batch, in the order in which to embed them. An equal text is embedded with the first of them.

    Args:
        texts: to embed per part, at most; a row's own texts stay together.
        characters: of these, at most; a longer row is a part of its own.
    """
    needs: dict[int, list[tuple[str, str]]] = {}
    order: list[
        tuple[int, bool, int, int]
    ] = []  # priority, whether it has texts, their length downwards, place
    for place, entry in enumerate(planned.lease.entries):
        needs[entry.row_id] = own = _needs(planned, entry)
        length = sum([len(planned.texts[digest][hash_]) for digest, hash_ in own])
        order.append((entry.priority, length > 0, -length, place))
    order.sort()

    parts: list[Batch] = []
    entries: list[Entry] = []
    wanted: dict[str, dict[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    count = size = 0
    group: tuple[int, bool] | None = None
    for priority, filled, _, place in order:
        entry = planned.lease.entries[place]
        new = [need for need in needs[entry.row_id] if need not in seen]
        length = sum([len(planned.texts[digest][hash_]) for digest, hash_ in new])
        full = count + len(new) > texts or size + length > characters
        if entries and (full or (priority, filled) != group):
            parts.append(planned.part(entries, wanted))
            entries, wanted, count, size = [], {}, 0, 0
        group = priority, filled
        entries.append(entry)
        for digest, hash_ in new:
            wanted.setdefault(digest, {})[hash_] = planned.texts[digest][hash_]
        seen.update(new)
        count += len(new)
        size += length
    if entries:
        parts.append(planned.part(entries, wanted))
    return parts


def _needs(planned: Batch, entry: Entry) -> list[tuple[str, str]]:
    """Model digest and hash of each text that a row needs embedded, each once."""
    jobs = planned.jobs.get(entry.row_id, ())
    found = [
        (job.generation.model_digest, passage.hash)
        for job in jobs
        for passage in job.passages
        if passage.hash in planned.texts.get(job.generation.model_digest, ())
    ]
    return found if len(found) < 2 else list(dict.fromkeys(found))
