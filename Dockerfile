# Interlock as an image: one engine process, not root, on a root file system that may be read-only.
# It writes to /var/lib/interlock (a volume) and /tmp (a tmpfs) only. Channels come in at /etc/interlock/channels.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/interlock
# First what changes rarely. The lock also pins the tools of the tests: only what the engine needs is installed.
COPY requirements.lock pyproject.toml deploy/runtime_lock.py ./
RUN python runtime_lock.py requirements.lock pyproject.toml > runtime.lock \
 && pip --python /opt/interlock/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r runtime.lock
COPY README.md LICENSE ./
COPY engine engine
COPY mappings mappings
COPY deadletter deadletter
RUN pip --python /opt/interlock/bin/python install --no-cache-dir --no-deps .
COPY deploy/healthcheck.py /opt/interlock/

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Interlock" \
      org.opencontainers.image.description="A clinical interface engine" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.documentation="https://interlock.example/docs"
# The numbers are fixed, so that the owner of a volume stays the same over images.
RUN groupadd --gid 10001 interlock \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/interlock --shell /usr/sbin/nologin interlock \
 && install --directory --mode=0700 --owner=10001 --group=10001 /var/lib/interlock \
 && install --directory --mode=0755 /etc/interlock/channels /etc/interlock/tables \
 && pip uninstall --yes --quiet --root-user-action=ignore pip
COPY --from=build /opt/interlock /opt/interlock
ENV PATH=/opt/interlock/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    INTERLOCK_CHANNELS=/etc/interlock/channels \
    INTERLOCK_DATA=/var/lib/interlock \
    INTERLOCK_HTTP=0.0.0.0:8080 \
    INTERLOCK_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/interlock
VOLUME /var/lib/interlock
EXPOSE 2575 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "/opt/interlock/healthcheck.py"]
ENTRYPOINT ["interlock"]
CMD ["serve"]
