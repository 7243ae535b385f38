"""What stands behind the ports: one package for each kind of store."""
