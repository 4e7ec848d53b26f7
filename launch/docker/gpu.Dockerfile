# NOBODY HAS BUILT THIS. For NVIDIA GPUs, with a driver for CUDA 12. To build it, in the root of the repository:
#
#   docker build -f launch/docker/gpu.Dockerfile -t IMAGE .
FROM python:3.12-slim
# The CUDA libraries come with JAX, the driver from the host: Docker and GKE put it in two places.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64
COPY setup.py pyproject.toml README.md /audiopalm/
COPY audiopalm /audiopalm/audiopalm
COPY configs /audiopalm/configs
COPY launch /audiopalm/launch
COPY data_pipelines /audiopalm/data_pipelines
RUN pip install --no-cache-dir '/audiopalm[data,gpu]'
ENTRYPOINT ["audiopalm"]
