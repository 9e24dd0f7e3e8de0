"""How fast dsoftmax is: against its peers, and against the memory. See README.md."""
