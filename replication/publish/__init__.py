"""Draws and prints the results of `analyse`; computes no estimate."""
