"""How leased and planned rows are cut into batches: edits first, then texts of like length together.

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
    needs = {entry.row_id: _needs(planned, entry) for entry in planned.lease.entries}
    lengths = {
        row_id: sum(len(planned.texts[digest][hash_]) for digest, hash_ in wanted)
        for row_id, wanted in needs.items()
    }

    def group(entry: Entry) -> tuple[int, bool]:
        return entry.priority, lengths[entry.row_id] > 0

    parts: list[Batch] = []
    entries: list[Entry] = []
    wanted: dict[str, dict[str, str]] = {}
    seen: set[tuple[str, str]] = set()
    count = size = 0
    for entry in sorted(planned.lease.entries, key=lambda e: (*group(e), -lengths[e.row_id])):
        new = [need for need in needs[entry.row_id] if need not in seen]
        length = sum(len(planned.texts[digest][hash_]) for digest, hash_ in new)
        full = count + len(new) > texts or size + length > characters
        if entries and (full or group(entry) != group(entries[-1])):
            parts.append(planned.part(entries, wanted))
            entries, wanted, count, size = [], {}, 0, 0
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
    found = {
        (job.generation.model_digest, passage.hash): None
        for job in planned.jobs.get(entry.row_id, ())
        for passage in job.passages
        if passage.hash in planned.texts.get(job.generation.model_digest, ())
    }
    return list(found)
