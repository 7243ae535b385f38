"""Usage in, money out: rating, balances, the ledger and alerts. Rules of the trade stand in README.md here."""
