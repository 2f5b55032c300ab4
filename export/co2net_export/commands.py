"""The command of this package, as [project.scripts] names it."""

from co2net_runtime.cli.entry import Entry

export = Entry("co2net_export.cli")
