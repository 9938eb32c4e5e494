"""The Varlink interface files that ship with the package."""
