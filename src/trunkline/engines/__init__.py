"""They drive the map's steps and know nothing of what is in them."""
