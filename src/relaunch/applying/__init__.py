"""A cluster from job files: what they want of each host, how far that is from what is, and making it so.

``wanted`` leads from files to jobs for each host, ``plan`` compares them with what a launcher has, ``carrying`` does
what the plan says, host by host in parallel or a few at a time.
"""
