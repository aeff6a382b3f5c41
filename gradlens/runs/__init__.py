"""What was measured, as plain data: a run, its folder and readings, comparisons. Needs no torch."""
