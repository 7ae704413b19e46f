"""An original against its replication: the replication criteria and their tests; several studies are in `families`."""
