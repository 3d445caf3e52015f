# The annotation service in a container: `redpencil annotate` and the commands that only read, without torch.
#
#     docker build -t redpencil .
#     docker run --rm -p 127.0.0.1:8008:8008 -v redpencil:/data redpencil

FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
COPY recipes recipes
RUN python -m venv /opt/redpencil
# All requirements of redpencil and its extra `web` but those that only models need: they are gigabytes.
RUN python - <<'LIST' > requirements.txt
import re
import tomllib

HEAVY = {"torch", "transformers", "safetensors"}
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
for line in project["dependencies"] + project["optional-dependencies"]["web"]:
    if re.match(r"[\w-]+", line)[0] not in HEAVY:
        print(line)
LIST
RUN /opt/redpencil/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt && \
    /opt/redpencil/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
COPY --from=build /opt/redpencil /opt/redpencil
RUN useradd --system --uid 10001 redpencil && install -d -o redpencil /data
USER redpencil
WORKDIR /data
VOLUME /data
ENV PATH=/opt/redpencil/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8008/healthz', timeout=4)"]
ENTRYPOINT ["redpencil", "annotate", "--host", "0.0.0.0"]
CMD ["/data/edits.db"]
