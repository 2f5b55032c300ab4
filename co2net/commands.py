"""The commands of this package, as [project.scripts] names them."""

from co2net_runtime.cli.entry import Entry

train = Entry("co2net.cli.train")
data = Entry("co2net.cli.data")
