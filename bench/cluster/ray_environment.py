"""The environment in which Ray disturbs a measurement least; read when Ray starts."""

QUIET = {
    "RAY_worker_niceness": "0",  # Ray's default of 15 would be measured
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_timeline": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # no vendor plugin loads itself into a worker
    "RAY_DEDUP_LOGS": "0",
    "RAY_TQDM": "0",
}
