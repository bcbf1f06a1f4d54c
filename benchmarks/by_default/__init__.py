"""vssnative beside its peers, each by the shortest program of its own README at its default settings."""
