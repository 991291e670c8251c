"""What a run leaves: its folder, predictions, what they say, the command that repeats it."""
