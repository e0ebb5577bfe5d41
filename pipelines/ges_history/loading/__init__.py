"""Loading: the source run into a warehouse, what was left finished first."""
