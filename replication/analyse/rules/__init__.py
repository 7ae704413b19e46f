"""Decision rules that conf/claim can name: `registry` lists them; code that no rule calls does not belong here."""
