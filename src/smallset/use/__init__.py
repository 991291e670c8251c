"""Trained networks and their records at work: answers, servers, exports, the review of labels."""
