# FVQ in a container; docs/releasing.md has the commands.
#   DEVICE  cuda (default): torch of the package index, which brings CUDA's libraries; cpu: torch from PyTorch's index for CPUs
#   EXTRAS  of the package fvq: train (default) or all
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS wheels
# git, because the version is that of the tag
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY . /src
WORKDIR /src
RUN git config --global --add safe.directory /src && pip install --no-cache-dir uv \
    && uv build --quiet --all-packages --out-dir /wheels

FROM python:${PYTHON}-slim
ARG DEVICE=cuda
ARG EXTRAS=train
# a C++ compiler for model.compile=True
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /opt/fvq/
COPY --from=wheels /wheels /opt/fvq/wheels
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --constraints /opt/fvq/constraints.txt --find-links /opt/fvq/wheels \
        $([ "$DEVICE" = cuda ] || echo "--torch-backend $DEVICE") "$(echo /opt/fvq/wheels/fvq-[0-9]*.whl)[$EXTRAS]" \
    && pip check && rm -rf /opt/fvq/wheels
RUN useradd --create-home fvq && mkdir /work && chown fvq /work
USER fvq
WORKDIR /work
ENTRYPOINT ["fvq"]
CMD ["--help"]
