"""Which labels are wrong: out-of-fold probabilities, the posterior, decisions, and the gate."""
