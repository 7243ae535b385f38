"""`trunkline cluster keyspace`: what a version writes to Cassandra is made there by a role that may, once."""

from __future__ import annotations

from trunkline import settings
from trunkline.cli.app import AsJson, answer_json, out
from trunkline.cli.cluster import cluster
from trunkline.settings import Cassandra


@cluster.command()
def keyspace(as_json: AsJson = False) -> None:
    """Make in your Cassandra what the map asks: keyspace, tables, indexes, columns. Done again, it changes nothing.

    With the account that the settings name, which must be allowed to. `trunkline serve` does the same at its start;
    ask for it here when serve's own account may only read and write.
    """
    from trunkline.bootstrap.serving import contact_of
    from trunkline.stores.cassandra.connection import Connection

    contact = contact_of(settings.read(Cassandra))
    connection = Connection(contact, make=True)
    connection.close()
    if as_json:
        answer_json({"keyspace": contact.keyspace, "made": connection.made})
        return
    for what in connection.made:
        out.print(f"made {what}", highlight=False, soft_wrap=True)
    told = f"{len(connection.made)} things were missing." if connection.made else "as it should be."
    out.print(f"{contact.keyspace}: {told}", highlight=False)
