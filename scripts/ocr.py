#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Reads images, whole pages and PDFs with a running server: scripts/ocr.py FILE... is `paddleocr-vl ocr FILE...`.

The text streams to the terminal or, with `-o DIR`, is written to a file for each document. `--help` shows the options;
environment variables are VLLM_URL, VLLM_API_KEY, MODEL_NAME and OCR_ENGINE.
"""

from cli.main import read_documents

if __name__ == "__main__":
    read_documents()
