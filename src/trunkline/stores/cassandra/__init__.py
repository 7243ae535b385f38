"""The serving store of a cluster: what the flows made, in Apache Cassandra, answering as the embedded store does.

Every write is idempotent by the identity of what it writes, so delivering twice changes nothing. `tables` says what
there is, `writer` writes it, `reader` answers, `alerts` gives alerts their running numbers.
"""
