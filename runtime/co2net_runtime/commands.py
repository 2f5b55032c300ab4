"""The commands of this package, as [project.scripts] names them."""

from co2net_runtime.cli.entry import Entry

infer = Entry("co2net_runtime.cli.infer")
extract = Entry("co2net_runtime.cli.extract")
archive = Entry("co2net_runtime.cli.archive")
engine = Entry("co2net_runtime.cli.engine")
doctor = Entry("co2net_runtime.cli.doctor")
triton = Entry("co2net_runtime.cli.triton")
triton_probe = Entry("co2net_runtime.cli.triton_probe")
join = Entry("co2net_runtime.cli.join")
