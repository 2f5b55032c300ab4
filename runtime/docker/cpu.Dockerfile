# co2net on a CPU: ONNX Runtime, nothing else. Build from the repository's root; see README.md.
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12.8-slim-bookworm
ENV PYTHONUNBUFFERED=1 \
    CO2NET_CACHE=/cache
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/co2net-*.whl)[cpu]" \
    && useradd --uid 1000 --create-home co2net \
    && install --directory --owner=co2net /cache /data
USER 1000
WORKDIR /data
VOLUME /cache
ENTRYPOINT ["co2net-infer"]
CMD ["--help"]
