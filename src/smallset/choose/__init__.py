"""What to train: settings searched on val, the best classifier that some minutes give."""
