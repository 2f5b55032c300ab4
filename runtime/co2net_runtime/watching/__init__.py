"""What an operator watches: counters as Prometheus reads them, the health of streams, systemd."""
