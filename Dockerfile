# The dashboard in a container. Build: docker build -t rankscope .
# Run: docker run -p 127.0.0.1:7860:7860 -v rankscope:/data rankscope
FROM python:3.11-slim-bookworm
WORKDIR /app
COPY requirements.txt .
# The CPU build of torch keeps the image small; pass --build-arg TORCH_INDEX="" for CUDA's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} -r requirements.txt
COPY . .
RUN useradd --create-home rankscope && mkdir /data && chown rankscope /data
USER rankscope
# Inside the container all interfaces; the published port decides who reaches it.
ENV HOST=0.0.0.0 PORT=7860 LORA_DATA_DIR=/data
EXPOSE 7860
VOLUME /data
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz')"
CMD ["python", "app.py"]
