"""What messages look like to others: schemas, the rules by which they may change, and how events are framed."""
