"""Small models that co2net-doctor --selftest runs; tests/export/make_selftest.py writes them."""
