"""How images travel: pull, and the plan of a pull."""
