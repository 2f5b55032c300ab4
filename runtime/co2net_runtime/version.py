"""The version of all four packages: this is its one place."""

VERSION = "0.1.0"
