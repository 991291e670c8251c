"""One HTML file per run and per study, that opens anywhere without a server or network."""
