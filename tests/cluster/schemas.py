"""Schemas of the YAML for clusters, written from the published types.

A dict is a mapping of exactly these fields, those with a final `?` optional. A list holds any
number of values like its one element. A tuple lists the allowed values; a type allows all of its
values.
JobSet: kubernetes-sigs/jobset, api/jobset/v1alpha2 at v0.10.1, and batch/v1 and core/v1 below it.
SkyPilot: the YAML of a task in its documentation, and sky/utils/schemas.py.
"""

from typing import Any

EXIT_CODES = {"containerName?": str, "operator": ("In", "NotIn"), "values": [int]}
CONTAINER = {
  "name": str,
  "image": str,
  "command": [str],
  "env": [{"name": str, "value": str}],
  "ports": [{"containerPort": int}],
  "resources": {"limits": {"google.com/tpu?": int, "nvidia.com/gpu?": int}},
  "volumeMounts": [{"name": str, "mountPath": str}],
}
VOLUME = {
  "name": str,
  "configMap?": {"name": str},
  "persistentVolumeClaim?": {"claimName": str},
  "emptyDir?": {"medium": ("Memory",)},
}
POD = {
  "restartPolicy": ("Never",),  # podFailurePolicy allows no other
  "terminationGracePeriodSeconds": int,
  "nodeSelector": {
    "cloud.google.com/gke-tpu-accelerator?": str,
    "cloud.google.com/gke-tpu-topology?": str,
    "cloud.google.com/gke-accelerator?": str,
    "cloud.google.com/gke-spot?": ("true",),
  },
  "containers": [CONTAINER],
  "volumes": [VOLUME],
}
JOB = {
  "completionMode": ("Indexed",),
  "completions": int,
  "parallelism": int,
  "backoffLimit": int,
  "podFailurePolicy": {
    "rules": [
      {
        "action": ("FailJob", "Ignore", "Count", "FailIndex"),
        "onExitCodes?": EXIT_CODES,
        "onPodConditions?": [{"type": str, "status": ("True", "False", "Unknown")}],
      }
    ]
  },
  "template": {"spec": POD},
}
JOBSET = {
  "apiVersion": ("jobset.x-k8s.io/v1alpha2",),
  "kind": ("JobSet",),
  "metadata": {
    "name": str,
    "annotations?": {"alpha.jobset.sigs.k8s.io/exclusive-topology": str},
  },
  "spec": {
    "network": {"enableDNSHostnames": bool},
    "failurePolicy": {
      "maxRestarts": int,
      "restartStrategy": ("Recreate", "BlockingRecreate"),
      "rules": [
        {
          "name": str,
          "action": ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"),
          "onJobFailureReasons": [
            (
              "BackoffLimitExceeded",
              "DeadlineExceeded",
              "FailedIndexes",
              "MaxFailedIndexesExceeded",
              "PodFailurePolicy",
            )
          ],
          "onJobFailureMessagePatterns": [str],
        }
      ],
    },
    "replicatedJobs": [{"name": str, "replicas": int, "template": {"spec": JOB}}],
  },
}
CONFIG_MAP = {
  "apiVersion": ("v1",),
  "kind": ("ConfigMap",),
  "metadata": {"name": str},
  "data": {"config.json": str},
}


def sky_task(*files: str) -> dict[str, Any]:
  """Returns the schema of a SkyPilot task that mounts /storage and copies these files."""
  return {
    "name": str,
    "num_nodes": int,
    "resources": {
      "accelerators": str,
      "use_spot": bool,
      "job_recovery": {"max_restarts_on_errors": int, "recover_on_exit_codes": [int]},
    },
    "file_mounts": {
      "/storage": {"source": str, "mode": ("MOUNT", "COPY", "MOUNT_CACHED")},
      **dict.fromkeys(files, str),
    },
    "setup": str,
    "run": str,
  }


def faults(value: Any, schema: Any, path: str = "") -> list[str]:
  """Returns one line for each place where a value does not match the schema."""
  if isinstance(schema, tuple):
    return [] if value in schema else [f"{path}: {value!r} is none of {schema}"]
  if isinstance(schema, type):
    fits = isinstance(value, schema) and not (schema is int and isinstance(value, bool))
    return [] if fits else [f"{path}: {value!r} is no {schema.__name__}"]
  kind = type(schema)
  if not isinstance(value, kind):
    return [f"{path}: {value!r} is no {kind.__name__}"]
  if kind is list:
    return [
      fault for i, each in enumerate(value) for fault in faults(each, schema[0], f"{path}[{i}]")
    ]
  known = {name.removesuffix("?"): inner for name, inner in schema.items()}
  missing = [name for name in schema if not name.endswith("?") and name not in value]
  lines = [f"{path}.{name}: missing" for name in missing]
  for name, inner in value.items():
    lines += faults(inner, known[name], f"{path}.{name}") if name in known else [
      f"{path}.{name}: unknown"
    ]  # fmt: skip
  return lines
