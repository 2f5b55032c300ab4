# co2net on a Jetson with JetPack 6: JetPack's own TensorRT, which lives in the system's Python 3.10.
# Build on the Jetson, from the repository's root; run with --runtime nvidia; see README.md.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS build
WORKDIR /src
COPY . .
RUN pip3 wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
ENV PYTHONUNBUFFERED=1 \
    CO2NET_CACHE=/cache \
    PATH=/opt/co2net/bin:$PATH
# hadolint ignore=DL3008  # the L4T archive of a release keeps one version of each
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*
# --system-site-packages: elsewhere Python does not see JetPack's TensorRT
# group video: CUDA opens /dev/nvmap, which is root's and that group's
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m venv --system-site-packages /opt/co2net \
    && /opt/co2net/bin/pip install --no-cache-dir /wheels/co2net-*.whl \
    && useradd --uid 1000 --groups video --create-home co2net \
    && install --directory --owner=co2net /cache /data
USER 1000
WORKDIR /data
VOLUME /cache
ENTRYPOINT ["co2net-infer"]
CMD ["--help"]
