# The image of the OCR API and its workers:
#   docker build -f deploy/jobs.Dockerfile -t paddleocr-jobs .
#   docker run -p 8000:8000 -v ocr-jobs:/data -e VLLM_URL=http://SERVER:8001 paddleocr-jobs     (or ... worker)
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
RUN pip install --no-cache-dir --disable-pip-version-check -q uv==0.13.9
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/app/.venv
COPY requirements.jobs.txt ./
RUN uv venv -q $VIRTUAL_ENV && uv pip install -q -r requirements.jobs.txt

FROM ${BASE}
RUN groupadd --gid 1034 ocr && useradd --uid 1034 --gid 1034 --no-create-home ocr && install -d -o ocr -g ocr /data
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY . .
RUN .venv/bin/python -m compileall -q *.py */
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
# Jobs and documents are here, unless JOBS_DATABASE_URL and JOBS_STORE say otherwise.
ENV JOBS_FOLDER=/data JOBS_ALIVE_FILE=/tmp/alive
VOLUME /data
USER 1034:1034
EXPOSE 8000
ENTRYPOINT ["python", "-m", "jobs"]
CMD ["api"]
