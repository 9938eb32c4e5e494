"""Streams of bytes between hosts: encrypted, to a peer whose certificate is known beforehand, over QUIC or over TCP.

Knows addresses, certificates and bytes. Refuses to know messages, subscriptions, and when to try again. ``dial`` and
``listen`` are the ways in; they load what a transport needs only when one is asked for.
"""
