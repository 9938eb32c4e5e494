"""relaunch: processes kept on many hosts, and every failure told."""
