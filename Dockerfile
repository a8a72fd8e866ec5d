# syntax=docker/dockerfile:1
# The service in a container: built from this folder, run as a user without rights.
#   docker build -t ragdecode .
#   docker run --rm -p 127.0.0.1:8000:8000 -e RAGDECODE_API_KEYS=... -v ragdecode-data:/data ragdecode docs-qa
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/ragdecode
ENV PATH=/opt/ragdecode/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# what is needed changes seldom, the package often: two layers. Wheels of PyTorch from PyPI bring CUDA with them
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ragdecode/version.py ragdecode/__init__.py ragdecode/
RUN mkdir -p indexes retrievers pipelines configs docs \
    && pip install --constraint constraints.txt '.[serve,gguf,milvus]'
COPY . .
RUN pip install --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home --home-dir /data --shell /usr/sbin/nologin ragdecode
COPY --from=build /opt/ragdecode /opt/ragdecode
ENV PATH=/opt/ragdecode/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/data/cache
# documents, index, conversations and weights: the one thing to keep and to back up
VOLUME /data
WORKDIR /data
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# weights may have to come first, so the first check has time
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["ragdecode", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["docs-qa"]
