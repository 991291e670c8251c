"""Records and arrays in, pictures out; nothing here imports torch."""
