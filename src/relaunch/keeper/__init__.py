"""The keeper: the parent of every job on a host, and nothing else. Standard library only."""
