"""HTTP: what other systems, the operator's people and the page may ask and order, and who may do what."""
