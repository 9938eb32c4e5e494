"""The ``launch`` command: one file for each of its commands, thin over the client."""
