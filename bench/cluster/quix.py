"""Quix Streams on a topic of ours, exactly once: it decodes, adds a column and encodes, and has no state.

Run by a Python that has `quixstreams` and `polars`, and by nothing else: its pins and ours do not go together, so it is
no dependency. `TRUNKLINE_BENCH_QUIX=/path/to/python make bench-cluster` shows its rate beside ours.
"""

from __future__ import annotations

import io
import sys
import time
from typing import Any

COMMITTED_EVERY_S = 1.0


def measured(brokers: str, name: str, kind: str, messages: int) -> float:
    """Messages a second from the first to the last commit."""
    from quixstreams import Application  # type: ignore[import-not-found]

    app = Application(
        broker_address=brokers,
        consumer_group=f"{name}.quix",
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=COMMITTED_EVERY_S,
        loglevel="ERROR",
        consumer_extra_config={"fetch.message.max.bytes": 8 << 20},
        producer_extra_config={"message.max.bytes": 8 << 20, "compression.type": "lz4"},
    )
    as_json = kind == "json"
    reading = app.topic(name, value_deserializer="json" if as_json else "bytes")
    writing = app.topic(f"{name}.quix", value_serializer="json" if as_json else "bytes")
    began: list[float] = []

    def stepped(value: Any) -> Any:
        if not began:
            began.append(time.perf_counter())
        return with_column(value) if as_json else with_columns(value)

    app.dataframe(reading).apply(stepped).to_topic(writing)
    app.run(count=messages)
    return messages / (time.perf_counter() - began[0])


def with_column(record: dict[str, Any]) -> dict[str, Any]:
    """One record with a column more."""
    return {**record, "seen": 1}


def with_columns(value: bytes) -> bytes:
    """A batch of records with a column more."""
    import polars as pl

    out = io.BytesIO()
    pl.read_ipc_stream(value).with_columns(seen=pl.lit(1)).write_ipc_stream(out, compression="uncompressed")
    return out.getvalue()


if __name__ == "__main__":
    brokers_, name_, kind_, messages_ = sys.argv[1:]
    print(measured(brokers_, name_, kind_, int(messages_)))
