# The annotation service in a container: `redpencil annotate` and the commands that only read, without torch.
#
#     docker build -t redpencil .
#     docker run --rm -p 127.0.0.1:8008:8008 -v redpencil:/data redpencil

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS build
WORKDIR /build
COPY requirements-image.lock ./
# All that redpencil and its extra `web` need but what only models need, which is gigabytes; `make locks` writes the list.
RUN python -m venv /opt/redpencil && \
    /opt/redpencil/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY recipes recipes
RUN /opt/redpencil/bin/pip install --no-cache-dir --no-deps --no-build-isolation . && \
    /opt/redpencil/bin/pip uninstall --yes hatchling trove-classifiers pip

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
COPY --from=build /opt/redpencil /opt/redpencil
RUN useradd --system --uid 10001 redpencil && install -d -m 700 -o redpencil /data
USER 10001
WORKDIR /data
VOLUME /data
ENV PATH=/opt/redpencil/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8008/healthz', timeout=4)"]
ENTRYPOINT ["redpencil", "annotate", "--host", "0.0.0.0"]
CMD ["/data/edits.db"]
