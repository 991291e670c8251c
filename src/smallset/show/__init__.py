"""Records and arrays in, pictures out; only the writer of TensorBoard's files loads torch."""
