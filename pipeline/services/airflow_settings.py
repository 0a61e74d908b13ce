"""The settings of Airflow that every deployment shares, on one host or on many.

`lungseg up` writes EVERYWHERE into its airflow.cfg. Compose and Kubernetes give EVERYWHERE and
SEVERAL_HOSTS as environment, which the tests compare with what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping

Sections = dict[str, dict[str, str]]

EVERYWHERE: Sections = {
    "core": {
        "load_examples": "False",
        "parallelism": "8",
        "hostname_callable": "socket.gethostname",  # the default asks a name server
    },
    "database": {"check_migrations": "False"},  # done beforehand; checking costs each start seconds
    "api": {"workers": "1"},
    "workers": {
        # A task may start before the API server answers, and a busy machine is slow to answer;
        # with the defaults (5 s, 5 times) that costs the task one of its retries.
        "execution_api_timeout": "60",
        "execution_api_retries": "10",
        "execution_api_retry_wait_max": "15",
    },
    "logging": {
        "colored_console_log": "False",
        # Some logs get these bits whatever the umask is, by default more than the user's.
        "file_task_handler_new_folder_permissions": "0o700",
        "file_task_handler_new_file_permissions": "0o600",
    },
    "scheduler": {
        # A task whose processes died with nobody to tell is retried within this time.
        "task_instance_heartbeat_timeout": "45",
        "task_instance_heartbeat_timeout_detection_interval": "5",
        "orphaned_tasks_check_interval": "30",
    },
    "dag_processor": {
        "parsing_processes": "1",
        "refresh_interval": "10",
        "min_file_process_interval": "30",
    },
}

SEVERAL_HOSTS: Sections = {
    "core": {"executor": "CeleryExecutor"},
    # A host that dies is noticed within 40 s, and its task runs again within a minute.
    "scheduler": {"task_instance_heartbeat_timeout": "35"},
    "celery": {
        # A worker takes one message per process, and gives it back only when it is done with it:
        # a task never waits at a busy host while another one is idle.
        "worker_prefetch_multiplier": "1",
        "task_acks_late": "True",
    },
    "celery_broker_transport_options": {
        # Redis delivers a message again that was not given back within this time (by default a
        # day): a second worker would get a training that still runs. 14 days, as long as
        # checkpoints are kept. A worker that died does not wait for it: Airflow retries its task.
        "visibility_timeout": "1209600",
    },
}
"""What comes on top where Celery brings tasks to workers."""


def as_environment(*parts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The settings as Airflow reads them from its environment: AIRFLOW__SECTION__KEY."""
    return {
        f"AIRFLOW__{section.upper()}__{key.upper()}": value
        for sections in parts
        for section, keys in sections.items()
        for key, value in keys.items()
    }
