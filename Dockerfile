# Two stages: the first installs and compiles, the second only runs. No compiler is needed in either:
# every locked requirement is a wheel.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build

# Without pip inside: the environment is copied whole into the final stage.
RUN python -m venv --without-pip /opt/venv
# `grpc` has the packages of DIGITS_GRPC_PORT, too.
ARG REQUIREMENTS=serve
COPY requirements/serve.txt requirements/grpc.txt /tmp/
# TensorFlow's C++ headers and libclang are 350 MB for building custom operations; nothing at run time
# opens them.
RUN python -m pip --python /opt/venv/bin/python install \
        --require-hashes --only-binary=:all: --no-cache-dir --no-compile --disable-pip-version-check \
        --requirement "/tmp/${REQUIREMENTS}.txt" \
    && rm -r /opt/venv/lib/python3*/site-packages/tensorflow/include \
        /opt/venv/lib/python3*/site-packages/clang \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# Byte code is made here because the root file system is read-only later. "unchecked-hash" trusts it
# whatever the files' times are after a copy.
COPY app/ /srv/digits/app/
RUN python -m compileall -q --invalidation-mode unchecked-hash /srv/digits/app


FROM python:${PYTHON_VERSION}-slim

LABEL org.opencontainers.image.title="Digits" \
      org.opencontainers.image.description="Reads handwritten digits over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that a volume's owner or a Kubernetes runAsUser can name it. pip goes: nothing is
# installed into a running image.
RUN groupadd --system --gid 10001 digits \
    && useradd --system --uid 10001 --gid digits --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin digits \
    && mkdir --parents /srv/digits/feedback \
    && chown 10001:10001 /srv/digits/feedback \
    && python -m pip uninstall --yes --root-user-action=ignore pip

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DIGITS_HOST=0.0.0.0 \
    DIGITS_LOG_JSON=true

WORKDIR /srv/digits
COPY --from=build /opt/venv/ /opt/venv/
COPY deploy/healthcheck.py ./
COPY models/ models/
COPY --from=build /srv/digits/app/ app/

USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "healthcheck.py"]

# No shell in between: SIGTERM reaches the server itself.
CMD ["python", "-m", "app"]
