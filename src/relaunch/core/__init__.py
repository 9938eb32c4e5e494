"""Pure decisions: values in, values out. Nothing here touches a clock, a file, a socket or a process."""
