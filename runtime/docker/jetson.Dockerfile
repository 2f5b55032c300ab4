# co2net on a Jetson with JetPack 6: JetPack's own TensorRT, which lives in the system's Python 3.10.
# Build on the Jetson, from the repository's root; run with --runtime nvidia; see README.md.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
ENV PYTHONUNBUFFERED=1 \
    CO2NET_CACHE=/cache \
    PATH=/opt/co2net/bin:$PATH
# hadolint ignore=DL3008  # the L4T archive of a release keeps one version of each
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# --system-site-packages: elsewhere Python does not see JetPack's TensorRT
RUN python3 -m venv --system-site-packages /opt/co2net \
    && /opt/co2net/bin/pip install --no-cache-dir '.[jetson]' \
    && rm -rf /src \
    && useradd --uid 1000 --create-home co2net \
    && install --directory --owner=co2net /cache /data
USER co2net
WORKDIR /data
VOLUME /cache
ENTRYPOINT ["co2net-infer"]
CMD ["--help"]
