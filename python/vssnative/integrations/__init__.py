"""vssnative within other libraries: one module for each, imported only by those who use that library."""
