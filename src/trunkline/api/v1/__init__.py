"""Our own interface under /api/v1: what the page, the command line and senders of usage speak."""
