"""For operators of co2net-infer, with files or live.

metrics   counters and gauges in Prometheus' text format
http      GET /metrics and /healthz of a live process
systemd   readiness and the watchdog, told to systemd
"""
