"""The orders in which a search finds rows: by vectors, by words, and both as one."""
