# co2net on an x86 machine with an NVIDIA GPU: ONNX Runtime with CUDA, and TensorRT 10.
# Build from the repository's root; run with --gpus all; see README.md.
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04
ENV PYTHONUNBUFFERED=1 \
    CO2NET_CACHE=/cache \
    PATH=/opt/co2net/bin:$PATH
# hadolint ignore=DL3008  # Ubuntu's archive keeps one version of each
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
# ONNX Runtime's TensorRT provider links libnvinfer.so.10, so the extra stays below TensorRT 11
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m venv /opt/co2net \
    && /opt/co2net/bin/pip install --no-cache-dir "$(echo /wheels/co2net-*.whl)[gpu,tensorrt]" \
    && userdel --remove ubuntu \
    && useradd --uid 1000 --create-home co2net \
    && install --directory --owner=co2net /cache /data
USER 1000
WORKDIR /data
VOLUME /cache
ENTRYPOINT ["co2net-infer"]
CMD ["--help"]
