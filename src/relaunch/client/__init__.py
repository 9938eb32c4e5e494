"""Talking to one host's launcher: synchronously and quickly for commands, with asyncio for programs."""
