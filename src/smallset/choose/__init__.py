"""Which settings: the search on val."""
