"""The command of this package, as [project.scripts] names it."""

from co2net_runtime.cli.entry import Entry

bench = Entry("co2net_benchmarks.cli.group")
