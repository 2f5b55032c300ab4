"""For operators: counters as Prometheus reads them, the health of streams, systemd."""
