"""Studies: many arms, many seeds, and claims that hold."""
