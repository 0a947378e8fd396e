"""Many chips at once: which constants and structures suit a network."""
