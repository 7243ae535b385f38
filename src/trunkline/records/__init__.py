"""What travels between the steps: one module per family, columns with units, keys, days kept, personal marks."""
