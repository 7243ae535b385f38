"""Bills: what a period came to for one account, line by line, out of the same ledger that charging writes."""
