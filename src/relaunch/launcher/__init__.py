"""The launcher: decides what should run on this host, and journals everything that happens to it first."""
