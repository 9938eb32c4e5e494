"""The side that is told: it listens for launchers, proves who they are, and hands their events to the application."""
