"""An original against its replication: the criteria of replication and what they are made of."""
