"""A bill on its way to people: as JSON, as a page, and on paper."""
