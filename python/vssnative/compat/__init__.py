"""For programs that were written for another package; docs/compat.md tells what is the same and what is not."""
