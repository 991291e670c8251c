"""Pictures come in: read, check, split, decode once, add noise, augment, batch."""
