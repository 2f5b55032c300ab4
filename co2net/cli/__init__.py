"""The command lines co2net-train and co2net-data."""
