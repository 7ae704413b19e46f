"""Decision rules: one function per rule that conf/claim can name; see `parts` for what a rule sees and answers."""
