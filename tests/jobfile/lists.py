"""Property lists as they are found in the wild, and what a file of them means."""

from relaunch.jobfile import Entry, JobFile, parse
from relaunch.model import JobSpec

DOCTYPE = '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">'
PROGRAM = "<key>Program</key><string>/bin/true</string>"


def plist(*body: str) -> bytes:
    """A property list in XML, a line for each part of its dictionary."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', DOCTYPE, '<plist version="1.0">', "<dict>", *body]
    return "\n".join([*lines, "</dict>", "</plist>", ""]).encode()


def job_of(*body: str) -> JobFile:
    """What a property list means that has this beside a label and a program."""
    return parse(plist("<key>Label</key>", "<string>org.example.job</string>", PROGRAM, *body), "job.plist")


def only(file: JobFile) -> Entry:
    """The one job of a file that says nothing without meaning."""
    assert not file.warnings
    (entry,) = file.entries
    return entry


def spec_of(*body: str) -> JobSpec:
    """The spec of such a job."""
    return only(job_of(*body)).spec
