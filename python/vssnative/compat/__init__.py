"""For programs that were written for another package; docs/compat.md says what is the same and what is not."""
