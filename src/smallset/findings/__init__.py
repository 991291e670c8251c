"""What a good colleague would notice in a run or a study. No torch here."""
