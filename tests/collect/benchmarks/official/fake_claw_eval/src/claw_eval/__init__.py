"""Stand-in of a package of Claw-Eval."""
