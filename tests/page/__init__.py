"""A folder of its own for pytest, so that what drives browsers ends with it."""
