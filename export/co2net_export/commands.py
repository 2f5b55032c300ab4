"""The commands of this package, as [project.scripts] names them."""

from co2net_runtime.cli.entry import Entry

export = Entry("co2net_export.cli")
backbone = Entry("co2net_export.backbone.cli")
