"""What people do with a finished thing by hand: the review of a cleaned set."""
