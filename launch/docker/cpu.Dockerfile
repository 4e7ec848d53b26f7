# NOBODY HAS BUILT THIS. For CPUs. To build it, in the root of the repository:
#
#   docker build -f launch/docker/cpu.Dockerfile -t IMAGE .
FROM python:3.12-slim
COPY setup.py pyproject.toml README.md /audiopalm/
COPY audiopalm /audiopalm/audiopalm
COPY configs /audiopalm/configs
COPY launch /audiopalm/launch
COPY data_pipelines /audiopalm/data_pipelines
RUN pip install --no-cache-dir '/audiopalm[data]'
ENTRYPOINT ["audiopalm"]
