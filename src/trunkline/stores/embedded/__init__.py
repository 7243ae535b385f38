"""The embedded store: one folder on a local disk, one process that writes, any number that read.

`manifest.sqlite` is the only place where something becomes true; every other file is immutable, named in the
manifest or removed at the next start. `store` writes, `reader` answers, `backup` copies while both go on.
"""
